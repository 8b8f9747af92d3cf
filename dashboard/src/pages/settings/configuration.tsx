import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createQuery } from "../../api/query";
import type { ConfigItem } from "../../api/types";
import { tomlValue } from "../../format";
import { Empty, Loaded } from "../../ui/states";
import { Search } from "../../ui/widgets";

const isDefault = (item: ConfigItem) => item.origin === "default";

function grouped(items: ConfigItem[]): [string, ConfigItem[]][] {
  const groups = new Map<string, ConfigItem[]>();
  for (const item of items) {
    const name = item.key.split(/[.[]/, 1)[0] ?? "";
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return [...groups];
}

export function Configuration(props: { generation: number }) {
  const [text, setText] = createSignal("");
  const [onlySet, setOnlySet] = createSignal(false);
  const config = createQuery<number, { items: ConfigItem[] }>(
    () => props.generation,
    (_, signal) => api.get("/config", signal),
    { key: "key" },
  );
  const matching = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return (config.data()?.items ?? []).filter(
      (item) =>
        !(onlySet() && isDefault(item)) &&
        `${item.key} ${tomlValue(item.value)} ${item.origin}`.toLowerCase().includes(needle),
    );
  });
  return (
    <section class="card" aria-label="Effective configuration">
      <div class="toolbar">
        <Search
          label="Search the configuration"
          placeholder="Key, value or origin"
          value={text()}
          onInput={setText}
        />
        <button type="button" class="chip" aria-pressed={onlySet()} onClick={() => setOnlySet(!onlySet())}>
          Not default
        </button>
      </div>
      <Loaded query={config} height={480}>
        {() => (
          <Show
            when={matching().length > 0}
            fallback={
              <Empty
                icon="settings"
                title={onlySet() ? "Everything is at its default" : "No setting matches"}
              >
                <p>
                  Values come from the defaults, the configuration file, the environment (
                  <code>OUTWORK__DHCP__LEASE_TIME=2h</code>) and <code>--set dhcp.lease_time=2h</code>, the
                  later over the earlier. <code>outwork schema</code> lists them all.
                </p>
              </Empty>
            }
          >
            <For each={grouped(matching())}>
              {([name, items]) => (
                <div class="settings-group">
                  <h3>{name}</h3>
                  <dl>
                    <For each={items}>
                      {(item) => (
                        <div class="setting">
                          <dt class="mono">{item.key}</dt>
                          <dd class="mono">{tomlValue(item.value)}</dd>
                          <dd class="origin">
                            <span class="badge" classList={{ accent: !isDefault(item) }}>
                              {item.origin}
                            </span>
                          </dd>
                        </div>
                      )}
                    </For>
                  </dl>
                </div>
              )}
            </For>
          </Show>
        )}
      </Loaded>
    </section>
  );
}
