import { createMemo, createSignal, For, Show } from "solid-js";
import { share, sum } from "../../api/figures";
import { bytes, count, latency, percent, rate, throughput } from "../../format";
import { More } from "../../ui/pager";
import { range } from "../../ui/plots";
import { createSort, type SortColumn } from "../../ui/sort";
import { Empty, Loaded, ProblemNotice } from "../../ui/states";
import { Search } from "../../ui/widgets";
import { type RouteRow, routeNames, routeRow, routeSinceStart } from "./rows";
import { createRoutes, createSummary } from "./shared";

/** The history has series of each route up to so many; beyond, there are only the figures since the start. */
const MOST_WITH_SERIES = 64;

/** Rows drawn at once; more on request. */
const STEP = 30;

const COLUMNS: SortColumn<RouteRow>[] = [
  { key: "route", text: "Route", by: (row) => row.route.route },
  { key: "requests", text: "Requests", by: (row) => row.requests, number: true },
  { key: "errors", text: "Errors", by: (row) => row.serverErrors, number: true },
  { key: "refused", text: "4xx", by: (row) => row.clientErrors, number: true },
  { key: "p99", text: "p99", by: (row) => row.p99, number: true },
  { key: "sent", text: "Sent", by: (row) => row.sent, number: true },
];

function Row(props: { row: RouteRow; sinceStart: boolean }) {
  const shown = (value: number | null, format: (value: number) => string) =>
    value === null ? "–" : format(value);
  const requests = () => shown(props.row.requests, props.sinceStart ? count : (n) => `${rate(n)}/s`);
  const part = (errors: number | null) => {
    const of = share(errors, sum([props.row.requests]));
    return of === null ? "–" : percent(of);
  };
  return (
    <tr>
      <td>
        <code class="route">{props.row.route.route}</code>
        <div class="route-with muted" title={props.row.route.with}>
          <span class="badge">{props.row.route.answers}</span>
          <Show when={props.row.route.cached}>
            <span class="badge accent">cached</span>
          </Show>
          <span class="mono">{props.row.route.with}</span>
        </div>
      </td>
      <td class="number side">{requests()}</td>
      <td class="number">
        <span class="phone-only muted">errors </span>
        <span classList={{ failing: (props.row.serverErrors ?? 0) > 0 }}>{part(props.row.serverErrors)}</span>
      </td>
      <td class="number phone-hidden">{part(props.row.clientErrors)}</td>
      <td class="number side">
        <span class="phone-only muted">p99 </span>
        {shown(props.row.p99, latency)}
      </td>
      <td class="number phone-hidden">{shown(props.row.sent, props.sinceStart ? bytes : throughput)}</td>
    </tr>
  );
}

/** Each route: how much it gets, how it fares. */
export function RouteTable() {
  const routes = createRoutes();
  const [text, setText] = createSignal("");
  const [shown, setShown] = createSignal(STEP);
  // A list of the same names is the same question.
  const labels = createMemo(() => (routes.data()?.items ?? []).map((one) => one.route).join("\n"));
  const many = () => labels() !== "" && labels().split("\n").length > MOST_WITH_SERIES;
  const names = createMemo(() => (labels() === "" || many() ? [] : routeNames(labels().split("\n"))));
  const history = createSummary(names);
  const sort = createSort(COLUMNS, "requests");
  const rows = createMemo(() => {
    const needle = text().trim().toLowerCase();
    const found = (routes.data()?.items ?? []).filter((route) =>
      `${route.route} ${route.with} ${route.answers}`.toLowerCase().includes(needle),
    );
    return sort.sorted(found.map((one) => (many() ? routeSinceStart(one) : routeRow(one, history.data()))));
  });
  return (
    <section class="card" aria-label="Routes">
      <div class="card-head">
        <h2>Routes</h2>
        <span class="muted push">
          {many() ? "since the start" : `over the last ${range().replace(/(\d+)/, "$1 ")}`}
        </span>
      </div>
      <Show when={history.error()}>
        {(problem) => (
          <div class="card-body">
            <ProblemNotice problem={problem()} retry={history.refetch} />
          </div>
        )}
      </Show>
      <Loaded query={routes} height={220}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="web" title="No routes yet">
                <p>
                  Requests are answered 404 until a <code>[[front.route]]</code> says what answers them.
                </p>
              </Empty>
            }
          >
            <Show when={data.items.length > 12}>
              <div class="toolbar">
                <Search
                  label="Search routes"
                  placeholder="Host, path, folder or statement"
                  value={text()}
                  onInput={setText}
                />
              </div>
            </Show>
            <div class="table-frame">
              <table class="table stacking routes">
                <thead>
                  <tr>
                    <sort.Heads />
                  </tr>
                </thead>
                <tbody>
                  <For each={rows().slice(0, shown())}>{(row) => <Row row={row} sinceStart={many()} />}</For>
                </tbody>
              </table>
            </div>
            <More
              shown={shown()}
              total={rows().length}
              noun="route"
              onMore={() => setShown(shown() + STEP)}
            />
          </Show>
        )}
      </Loaded>
    </section>
  );
}
