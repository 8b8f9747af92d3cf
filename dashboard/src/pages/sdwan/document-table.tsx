import { createSignal, For, Match, Show, Switch } from "solid-js";
import type { DocumentKind, NetworkDocument } from "../../api/controller-types";
import { may } from "../../api/session";
import { relative, timestamp, tomlValue } from "../../format";
import { Icon } from "../../ui/icon";
import { RowMenu } from "../../ui/menu";
import { Empty, Loaded } from "../../ui/states";
import { createNow } from "../../ui/widgets";
import { DocumentDialog, RemoveDialog } from "./document-form";
import { KINDS } from "./documents";
import { createDocuments } from "./network-data";

const TEACH: Partial<Record<DocumentKind, string>> = {
  classes:
    "voice, video, transactional and bulk are there already. One of these names changes what that class needs; another adds a class.",
  applications:
    "An application is known by its servers’ names or by their ports. Policies speak of it by its name.",
};

type Asked = { what: "add" } | { what: "change" | "remove"; document: NetworkDocument };

/** Documents of a kind, and what each says. */
export default function DocumentTable(props: { kind: DocumentKind }) {
  const documents = createDocuments(props.kind);
  const [asked, setAsked] = createSignal<Asked | null>(null);
  const now = createNow(10_000);
  const close = () => setAsked(null);
  const words = () => KINDS[props.kind];
  const target = (what: "change" | "remove") => {
    const is = asked();
    return is?.what === what ? is.document : undefined;
  };
  const said = (document: NetworkDocument) =>
    Object.entries(document.body).filter(([key]) => key !== "name" && key !== "site");
  return (
    <section class="card" aria-label={`Documents: ${words().many}`}>
      <div class="toolbar">
        <p class="muted">{TEACH[props.kind] ?? ""}</p>
        <Show when={may("operator")} fallback={<span class="muted push">Only operators change them</span>}>
          <button type="button" class="button push" onClick={() => setAsked({ what: "add" })}>
            <Icon name="plus" /> Add {words().word}
          </button>
        </Show>
      </div>
      <Loaded query={documents} height={240}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={<Empty icon="sdwan" title={`The network has no ${words().many} of its own`} />}
          >
            <div class="table-frame">
              <table class="table stacking documents">
                <thead>
                  <tr>
                    <th scope="col">Name</th>
                    <th scope="col">Says</th>
                    <th scope="col">Changed</th>
                    <Show when={may("operator")}>
                      <th scope="col">
                        <span class="visually-hidden">Actions</span>
                      </th>
                    </Show>
                  </tr>
                </thead>
                <tbody>
                  <For each={data.items}>
                    {(document) => (
                      <tr>
                        <td>
                          <strong class="policy-name">{document.id}</strong>
                        </td>
                        <td class="wide">
                          <ul class="matches">
                            <For each={said(document)} fallback={<li class="muted">nothing</li>}>
                              {([key, value]) => (
                                <li class="match">
                                  <small>{key}</small> {tomlValue(value)}
                                </li>
                              )}
                            </For>
                          </ul>
                        </td>
                        <td class="muted" title={timestamp(document.updated)}>
                          {document.updated_by}, {relative(Date.parse(document.updated), now())}
                        </td>
                        <Show when={may("operator")}>
                          <td class="tools side">
                            <RowMenu
                              label={`More for ${document.id}`}
                              items={[
                                {
                                  text: "Change…",
                                  icon: "edit",
                                  onSelect: () => setAsked({ what: "change", document }),
                                },
                                {
                                  text: "Remove…",
                                  icon: "trash",
                                  danger: true,
                                  onSelect: () => setAsked({ what: "remove", document }),
                                },
                              ]}
                            />
                          </td>
                        </Show>
                      </tr>
                    )}
                  </For>
                </tbody>
              </table>
            </div>
          </Show>
        )}
      </Loaded>
      <Switch>
        <Match when={asked()?.what === "add"}>
          <DocumentDialog kind={props.kind} onClose={close} onDone={documents.refetch} />
        </Match>
        <Match when={target("change")}>
          {(document) => (
            <DocumentDialog
              kind={props.kind}
              document={document()}
              onClose={close}
              onDone={documents.refetch}
            />
          )}
        </Match>
        <Match when={target("remove")}>
          {(document) => (
            <RemoveDialog
              kind={props.kind}
              document={document()}
              onClose={close}
              onDone={documents.refetch}
            />
          )}
        </Match>
      </Switch>
    </section>
  );
}
