import { createEffect, createMemo, createSignal, For, lazy, on, Show, Suspense } from "solid-js";
import { api, query } from "../../api/client";
import { clockSkew } from "../../api/live";
import { createQuery } from "../../api/query";
import { freshFor, LiveSamples } from "../../api/samples";
import type { Path, PathEvent } from "../../api/sdwan-types";
import { clock, count, latency, percent, relative, sentence } from "../../format";
import { href } from "../../router";
import { Drawer } from "../../ui/dialog";
import { Facts } from "../../ui/facts";
import { createTimeline, Plots, RangePicker, TimelineProblem } from "../../ui/plots";
import { Said } from "../../ui/said";
import { createNow } from "../../ui/widgets";
import { plotsOfPath, sampleOfPath } from "./plots";
import { called, causeOf, ends, heard, reading, told, why } from "./reading";
import { State, Taken } from "./shared";

const Chart = lazy(() => import("../../ui/chart"));

/** Polls that are remembered of a path whose history the server does not keep. */
const REMEMBERED = 300;
/** Seconds of them that are drawn. */
const SHOWN = 300;

/** From the server's history, and live. */
function Kept(props: { path: Path }) {
  const plots = createMemo(() => plotsOfPath(props.path));
  const timeline = createTimeline(createMemo(() => plots().flatMap((plot) => plot.names)));
  return (
    <>
      <RangePicker />
      <TimelineProblem timeline={timeline} />
      <Plots plots={plots()} timeline={timeline} />
    </>
  );
}

/** From what was polled since somebody looks. */
function Watched(props: { path: Path; at: number }) {
  const polled = new LiveSamples(REMEMBERED);
  const [polls, setPolls] = createSignal(0);
  createEffect(
    on(
      () => props.at,
      (at) => {
        if (heard(props.path)) polled.push((at + clockSkew()) / 1000, sampleOfPath(props.path));
        setPolls((n) => n + 1);
      },
    ),
  );
  const to = () => (props.at + clockSkew()) / 1000;
  return (
    <>
      <p class="muted">
        There are too many paths for a history of each: charts begin when a path is opened, and show the last
        five minutes.
      </p>
      <div class="charts">
        <For each={plotsOfPath(props.path)}>
          {(plot) => {
            const columns = createMemo(() => {
              polls();
              return polled.columns(plot.names, to() - SHOWN);
            });
            return (
              <Suspense fallback={<div class="card" />}>
                <Chart
                  title={plot.title}
                  series={plot.series}
                  columns={columns()}
                  from={to() - SHOWN}
                  to={to()}
                  fresh={freshFor(true, 0)}
                  format={plot.format}
                />
              </Suspense>
            );
          }}
        </For>
      </div>
    </>
  );
}

/** Of what has happened to a path, so much is told beside its charts. */
const LAST = 5;
/** What has happened lately to any path of its site, in which that is looked for. */
const LOOKED_AT = 200;

/** Why it is what it is, and what has happened to it last. */
function Lately(props: { path: Path }) {
  const events = createQuery<string, { items: PathEvent[] }>(
    () => props.path.site,
    (site, signal) => api.get(`/sdwan/events${query({ site, limit: LOOKED_AT })}`, signal),
    { every: 5_000, key: "number" },
  );
  const now = createNow();
  const all = () => events.data()?.items ?? [];
  const cause = () => causeOf(props.path, all());
  const own = () => all().filter((event) => event.of === called(props.path));
  return (
    <>
      <Show when={cause()}>
        {(event) => (
          <p>
            <strong>
              {sentence(`${told(event()).text} for`)} {relative(event().at_ms, now()).replace(/ ago$/, "")}
            </strong>
            {": "}
            <Said text={why(event()) || reading(props.path).detail} />.
          </p>
        )}
      </Show>
      <Show when={own().length > 0}>
        <ul class="lately" aria-label="What has happened to it">
          <For each={own().slice(0, LAST)}>
            {(event) => (
              <li>
                <time class="mono muted" datetime={new Date(event.at_ms).toISOString()}>
                  {clock(event.at_ms)}
                </time>
                <span>
                  {told(event).text}
                  {(event.count ?? 1) > 1 ? `, ${count(event.count ?? 1)} times` : ""}
                  <span class="muted">{why(event) === "" ? "" : `: ${why(event)}`}</span>
                </span>
              </li>
            )}
          </For>
        </ul>
      </Show>
    </>
  );
}

/** One path: where it leads, what it is taken for, and how it has fared. */
export default function PathDrawer(props: {
  path: Path;
  /** When the server told of it, by the browser's clock. */
  at: number;
  /** Whether the server keeps a history of it. */
  kept: boolean;
  onClose: () => void;
}) {
  const shown = (text: () => string) => (heard(props.path) ? text() : null);
  return (
    <Drawer title={`${props.path.site}: ${ends(props.path)}`} onClose={props.onClose}>
      <div class="path-head">
        <State of={reading(props.path)} /> <Taken when={props.path.chosen} />
        <p>{reading(props.path).detail}.</p>
        <Lately path={props.path} />
      </div>
      <Facts
        items={[
          ["Site", props.path.site],
          ["Our uplink", props.path.uplink],
          ["Their uplink", props.path.remote_uplink],
          ["By hub", props.path.via],
          [
            "Endpoint",
            props.path.via ? null : (props.path.endpoint ?? "not known: the other end has to dial"),
          ],
          ["Longest packet", `${count(props.path.mtu)} octets`],
          ["Keys", props.path.keys ? "there are" : "none yet", !props.path.keys],
          ["Latency, one way", shown(() => latency(props.path.latency_ms / 1000))],
          ["Jitter", shown(() => latency(props.path.jitter_ms / 1000))],
          ["Lost", shown(() => percent(props.path.loss)), props.path.loss > 0],
          ["A call by it", shown(() => `MOS ${props.path.mos.toFixed(2)} of 4.5`)],
          ["Datagrams sent", count(props.path.sent)],
          ["Datagrams received", count(props.path.received)],
        ]}
      />
      <p>
        <a href={href("/sdwan/events", { site: props.path.site })}>What has happened to this site</a>
      </p>
      <div class="path-charts">
        <Show when={props.kept} fallback={<Watched path={props.path} at={props.at} />}>
          <Kept path={props.path} />
        </Show>
      </div>
    </Drawer>
  );
}
