import { createMemo, createSignal, For, Show } from "solid-js";
import { may } from "../../api/session";
import { relative, timestamp, tomlValue } from "../../format";
import { Icon } from "../../ui/icon";
import { Empty, Loaded } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { DocumentDialog } from "./document-form";
import { saidOf, shapedIn } from "./documents";
import { createDocuments } from "./network-data";

/** What holds at all sites whose own files say nothing else. */
export default function Settings() {
  const [settings, classes] = [createDocuments("settings"), createDocuments("classes")];
  const [changing, setChanging] = createSignal(false);
  const now = createNow(10_000);
  const document = () => settings.data()?.items[0];
  const names = createMemo(() => (classes.data()?.items ?? []).map(({ id }) => id));
  const said = createMemo(() => {
    const body = document()?.body ?? {};
    return saidOf("settings", body, [...names(), ...shapedIn(body)]);
  });
  return (
    <section class="card" aria-label="Settings of all sites">
      <div class="toolbar">
        <p class="muted">What holds at all sites whose own files say nothing else.</p>
        <Show when={may("operator")} fallback={<span class="muted push">Only operators change them</span>}>
          <button
            type="button"
            class="button push"
            disabled={!settings.data() || !classes.data()}
            onClick={() => setChanging(true)}
          >
            <Icon name="edit" /> Change settings
          </button>
        </Show>
      </div>
      <Loaded query={settings} height={240}>
        {() => (
          <Show
            when={said().length > 0}
            fallback={
              <Empty icon="settings" title="Nothing is said for all sites">
                <p>Each goes by its own configuration file, and by what is so by default.</p>
              </Empty>
            }
          >
            <div class="table-frame">
              <table class="table stacking documents">
                <thead>
                  <tr>
                    <th scope="col">What</th>
                    <th scope="col">Setting</th>
                    <th scope="col">Says</th>
                  </tr>
                </thead>
                <tbody>
                  <For each={said()}>
                    {(one) => (
                      <tr>
                        <td>
                          <Show when={one.label} fallback={<span class="muted">as it is written</span>}>
                            <strong>{one.label}</strong>
                          </Show>
                          <Show when={one.group}>
                            <div class="muted sub">{one.group}</div>
                          </Show>
                        </td>
                        <td class="mono setting-key">sdwan.{one.key}</td>
                        <td class="mono side">{tomlValue(one.value)}</td>
                      </tr>
                    )}
                  </For>
                </tbody>
              </table>
            </div>
            <Show when={document()}>
              {(one) => (
                <div class="pager" title={timestamp(one().updated)}>
                  Changed by {one().updated_by}, {relative(Date.parse(one().updated), now())}
                </div>
              )}
            </Show>
          </Show>
        )}
      </Loaded>
      <Show when={changing()}>
        <DocumentDialog
          kind="settings"
          document={document()}
          classes={names()}
          onClose={() => setChanging(false)}
          onDone={settings.refetch}
        />
      </Show>
    </section>
  );
}
