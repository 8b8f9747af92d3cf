import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { api, query } from "../../api/client";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import type { CountedPage, Reservation, Subnet } from "../../api/types";
import { count } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { RowMenu } from "../../ui/menu";
import { notify } from "../../ui/notify";
import { More } from "../../ui/pager";
import { Empty, Loaded } from "../../ui/states";
import { Search } from "../../ui/widgets";
import { ReservationDialog } from "./forms";
import { furtherSettings, nameOf } from "./reservation";
import { SubnetLabel } from "./subnet-label";

/** Rows drawn at once; more on request. */
const STEP = 100;
/** Reservations fetched at once, the most that the server gives in a page; more on request. */
const FETCHED = 10_000;

type Asked = { what: "add" } | { what: "edit" | "remove"; reservation: Reservation };

function RemoveDialog(props: { reservation: Reservation; onClose: () => void; onDone: () => void }) {
  const action = createAction(async () => {
    await api.delete(`/dhcp/reservations/${encodeURIComponent(props.reservation.id)}`);
    notify(`Removed the reservation of ${nameOf(props.reservation)}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Remove the reservation of ${nameOf(props.reservation)}`}
      submit="Remove"
      danger
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        From its next renewal on, <span class="mono">{props.reservation.identifier.value}</span> gets an
        address from a pool, as any other client.
      </p>
    </FormDialog>
  );
}

export function Reservations(props: { subnets: Subnet[] }) {
  const [text, setText] = createSignal("");
  const [shown, setShown] = createSignal(STEP);
  const [asked, setAsked] = createSignal<Asked | null>(null);
  const [pages, setPages] = createSignal(1);
  const list = createQuery<number, CountedPage<Reservation>>(
    pages,
    async (wanted, signal) => {
      let page = await api.get<CountedPage<Reservation>>(
        `/dhcp/reservations${query({ limit: FETCHED })}`,
        signal,
      );
      const found = page.items;
      for (let n = 1; n < wanted && page.next !== null; n++) {
        page = await api.get(`/dhcp/reservations${query({ limit: FETCHED, after: page.next })}`, signal);
        found.push(...page.items);
      }
      return { ...page, items: found };
    },
    { every: 15_000 },
  );
  const items = createMemo(() => list.data()?.items ?? []);
  const matching = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return items().filter((one) =>
      [one.address, one.identifier.value, one.hostname, ...furtherSettings(one).flat()]
        .join(" ")
        .toLowerCase()
        .includes(needle),
    );
  });
  const subnetOf = (id: number) => props.subnets.find((subnet) => subnet.id === id);
  const close = () => setAsked(null);
  const target = (what: "edit" | "remove") => {
    const now = asked();
    return now !== null && now.what === what ? now.reservation : null;
  };
  const add = () => (
    <Show when={may("operator") && props.subnets.length > 0}>
      <button type="button" class="button push" onClick={() => setAsked({ what: "add" })}>
        <Icon name="plus" /> Add<span class="desk-only"> reservation</span>
      </button>
    </Show>
  );
  return (
    <section class="card" aria-label="Reservations">
      <Loaded query={list} height={420}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="pin" title="No reservations yet">
                <p>
                  A reservation gives one device the same address each time. Open a lease and choose Reserve,
                  or add one here. It takes effect at once.
                </p>
                {add()}
              </Empty>
            }
          >
            <div class="toolbar">
              <Search
                label="Search reservations"
                placeholder="Address, client, hostname or option"
                value={text()}
                onInput={setText}
              />
              {add()}
            </div>
            <div class="table-frame">
              <table class="table stacking">
                <thead>
                  <tr>
                    <th scope="col">Address</th>
                    <th scope="col">Set in</th>
                    <th scope="col">Hostname</th>
                    <th scope="col">Client</th>
                    <th scope="col">Also sets</th>
                    <th scope="col">Subnet</th>
                    <th scope="col">
                      <span class="visually-hidden">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  <For each={matching().slice(0, shown())}>
                    {(one) => (
                      <tr>
                        <td class="mono nowrap">
                          {one.address ?? <span class="from-pool">from a pool</span>}
                        </td>
                        <td class="side">
                          <span class="badge">{one.source === "config" ? "configuration" : "API"}</span>
                        </td>
                        <td class="clip">{one.hostname ?? ""}</td>
                        <td class="nowrap">
                          <span class="mono">{one.identifier.value}</span>{" "}
                          <Show when={one.identifier.kind !== "mac"}>
                            <span class="muted">{one.identifier.kind.replace("_", " ")}</span>
                          </Show>
                        </td>
                        <td
                          class="clip muted"
                          title={furtherSettings(one)
                            .map(([name, value]) => `${name}: ${value}`)
                            .join("\n")}
                        >
                          {furtherSettings(one)
                            .map(([name]) => name.replace(/^Option | \(.*\)$/g, "").toLowerCase())
                            .join(", ")}
                        </td>
                        <td class="clip phone-hidden">
                          <SubnetLabel subnet={subnetOf(one.subnet_id)} id={one.subnet_id} />
                        </td>
                        <td class="tools side">
                          <Show when={may("operator") && one.source === "api"}>
                            <RowMenu
                              label={`More for ${nameOf(one)}`}
                              items={[
                                {
                                  text: "Edit…",
                                  icon: "edit",
                                  onSelect: () => setAsked({ what: "edit", reservation: one }),
                                },
                                {
                                  text: "Remove…",
                                  icon: "trash",
                                  danger: true,
                                  onSelect: () => setAsked({ what: "remove", reservation: one }),
                                },
                              ]}
                            />
                          </Show>
                        </td>
                      </tr>
                    )}
                  </For>
                </tbody>
              </table>
            </div>
            <Show when={matching().length === 0}>
              <Empty icon="search" title="No reservation matches">
                <button type="button" class="button" onClick={() => setText("")}>
                  Show all {count(items().length)}
                </button>
              </Empty>
            </Show>
            <Show when={data.next !== null}>
              <div class="pager">
                The search looks at {count(items().length)} of {count(data.total)} reservations
                <button
                  type="button"
                  class="button small"
                  disabled={list.loading()}
                  onClick={() => setPages(pages() + 1)}
                >
                  Fetch {count(FETCHED)} more
                </button>
              </div>
            </Show>
            <More
              shown={shown()}
              total={matching().length}
              noun="reservation"
              onMore={() => setShown(shown() + STEP)}
            />
          </Show>
        )}
      </Loaded>
      <Switch>
        <Match when={asked()?.what === "add"}>
          <ReservationDialog
            title="Add a reservation"
            subnets={props.subnets}
            draft={{
              subnet_id: props.subnets[0]?.id ?? 0,
              identifier: { kind: "mac", value: "" },
              address: null,
            }}
            onClose={close}
            onDone={list.refetch}
          />
        </Match>
        <Match when={target("edit")}>
          {(one) => (
            <ReservationDialog
              title={`Change the reservation of ${nameOf(one())}`}
              subnets={props.subnets}
              draft={one()}
              existing={one()}
              onClose={close}
              onDone={list.refetch}
            />
          )}
        </Match>
        <Match when={target("remove")}>
          {(one) => <RemoveDialog reservation={one()} onClose={close} onDone={list.refetch} />}
        </Match>
      </Switch>
    </section>
  );
}
