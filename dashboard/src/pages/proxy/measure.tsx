import { createSignal, For } from "solid-js";
import { api, type Problem } from "../../api/client";
import type { Benchmark, BenchmarkKind } from "../../api/proxy-types";
import { createAction } from "../../api/query";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Field } from "../../ui/widgets";
import { MEASURES } from "./figures";

const DURATIONS = ["5s", "10s", "30s", "1m", "5m", "10m"];
const FIELDS = ["target", "protocol", "duration", "connections", "packet_size", "workers"];

const inWords = (duration: string) => duration.replace(/(\d+)/, "$1 ");

/** Asks what is to be loaded and by what, and begins. A target that may not be loaded is refused beside its field. */
export function MeasureDialog(props: { onClose: () => void; onDone: () => void }) {
  const [target, setTarget] = createSignal("");
  const [kind, setKind] = createSignal<BenchmarkKind | "">("");
  const [protocol, setProtocol] = createSignal("tcp");
  const [duration, setDuration] = createSignal("10s");
  const [connections, setConnections] = createSignal(16);
  const [packetSize, setPacketSize] = createSignal(1400);
  const [workers, setWorkers] = createSignal(1);
  const action = createAction(async () => {
    const path = kind() === "" ? "/proxy/benchmark" : `/proxy/benchmark/${kind()}`;
    const run = await api.post<Benchmark>(path, {
      target: target().trim(),
      protocol: protocol(),
      duration: duration(),
      connections: connections(),
      packet_size: packetSize(),
      workers: workers(),
    });
    notify(`Benchmark ${run.id} has begun`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title="Begin a benchmark"
      submit="Begin"
      disabled={target().trim() === ""}
      pending={action.pending()}
      problem={action.problem()}
      fields={FIELDS}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field
        label="Target"
        name="target"
        problem={action.problem()}
        hint={
          <>
            It is loaded with all that it takes. It has to be this machine, of a network for benchmarks
            (198.18.0.0/15, 2001:2::/48), or of one in <code>proxy.benchmark.targets</code>.
          </>
        }
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            type="text"
            placeholder="127.0.0.1:5432"
            value={target()}
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setTarget(event.currentTarget.value)}
            required
          />
        )}
      </Field>
      <Field label="What to measure" name="kind">
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) => setKind(event.currentTarget.value as BenchmarkKind | "")}
          >
            <option value="">All four, one after the other</option>
            <For each={Object.entries(MEASURES)}>
              {([value, what]) => (
                <option value={value}>
                  {value}: {what}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
      <div class="form-pair">
        <Field label="Over" name="protocol" problem={action.problem()}>
          {(attributes) => (
            <select
              {...attributes}
              class="input"
              onChange={(event) => setProtocol(event.currentTarget.value)}
            >
              <option value="tcp">TCP</option>
              <option value="udp">UDP</option>
            </select>
          )}
        </Field>
        <Field label="For, each" name="duration" problem={action.problem()}>
          {(attributes) => (
            <select
              {...attributes}
              class="input"
              onChange={(event) => setDuration(event.currentTarget.value)}
            >
              <For each={DURATIONS}>
                {(value) => (
                  <option value={value} selected={value === duration()}>
                    {inWords(value)}
                  </option>
                )}
              </For>
            </select>
          )}
        </Field>
        <Count
          label="Connections at once"
          name="connections"
          most={10_000}
          value={connections()}
          onInput={setConnections}
          problem={action.problem()}
        />
        <Count
          label="Bytes at a time"
          name="packet_size"
          most={1_048_576}
          value={packetSize()}
          onInput={setPacketSize}
          problem={action.problem()}
        />
        <Count
          label="Threads"
          name="workers"
          most={64}
          value={workers()}
          onInput={setWorkers}
          problem={action.problem()}
        />
      </div>
    </FormDialog>
  );
}

function Count(props: {
  label: string;
  name: string;
  most: number;
  value: number;
  onInput: (value: number) => void;
  problem: Problem | null;
}) {
  return (
    <Field label={props.label} name={props.name} problem={props.problem}>
      {(attributes) => (
        <input
          {...attributes}
          class="input"
          type="number"
          min={1}
          max={props.most}
          step={1}
          value={props.value}
          onInput={(event) => props.onInput(event.currentTarget.valueAsNumber)}
          required
        />
      )}
    </Field>
  );
}
