import { createSignal, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api } from "../../api/client";
import { createAction } from "../../api/query";
import type { IdentifierKind, Lease, Reservation, ReservationDraft, Subnet } from "../../api/types";
import { inLocalTime } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Field } from "../../ui/widgets";
import { bodyOf, furtherSettings, nameOf, type ReservationFields, subnetOf } from "./reservation";
import { titleOf } from "./subnet-label";

interface DialogProps {
  onClose: () => void;
  onDone: () => void;
}

const IDENTIFIERS: Record<IdentifierKind, { text: string; hint: string }> = {
  mac: { text: "MAC address", hint: "Such as 52:54:00:12:34:56" },
  client_id: {
    text: "Client id (option 61)",
    hint: "Hexadecimal, as a lease shows it, or text in single quotes",
  },
  circuit_id: {
    text: "Relay circuit id (option 82.1)",
    hint: "The switch port as the relay agent sends it: hexadecimal, or text in single quotes",
  },
  remote_id: {
    text: "Relay remote id (option 82.2)",
    hint: "The relay's own name as it sends it: hexadecimal, or text in single quotes",
  },
  flex: {
    text: "Flex identifier",
    hint: "What dhcp.flex_identifier gives for the client: hexadecimal, or text in single quotes",
  },
};

function FurtherSettings(props: { reservation: ReservationDraft }) {
  const rows = () => furtherSettings(props.reservation);
  return (
    <Show when={rows().length > 0}>
      <section class="kept" aria-label="Kept as they are">
        <h3>Kept as they are</h3>
        <dl class="facts">
          <For each={rows()}>
            {([name, value]) => (
              <>
                <dt>{name}</dt>
                <dd class="mono">{value}</dd>
              </>
            )}
          </For>
        </dl>
      </section>
    </Show>
  );
}

export function ReservationDialog(
  props: DialogProps & {
    title: string;
    draft: ReservationDraft;
    /** The reservation being edited; none when one is added. */
    existing?: Reservation;
    /** Offered for choice where the subnet is open. */
    subnets?: Subnet[];
  },
) {
  const [fields, setFields] = createStore<ReservationFields>({
    subnet_id: props.draft.subnet_id,
    kind: props.draft.identifier.kind,
    value: props.draft.identifier.value,
    address: props.draft.address ?? "",
    hostname: props.draft.hostname ?? "",
  });
  // An address says which subnet is meant; it can still be chosen.
  const setAddress = (address: string) => {
    const subnet = subnetOf(props.subnets ?? [], address);
    setFields({ address, ...(subnet ? { subnet_id: subnet.id } : {}) });
  };
  const action = createAction(async () => {
    const path = props.existing && `/dhcp/reservations/${encodeURIComponent(props.existing.id)}`;
    // What the form does not edit is taken as it is now: somebody else may have changed it while the form was open.
    const { warning, ...saved } = path
      ? await api.put<Reservation>(path, bodyOf(fields, await api.get<Reservation>(path)))
      : await api.post<Reservation>("/dhcp/reservations", bodyOf(fields));
    notify(`${props.existing ? "Changed the reservation of" : "Reserved"} ${nameOf(saved)}`);
    if (warning) notify(inLocalTime(warning), "warn");
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={props.title}
      submit={props.existing ? "Save" : "Reserve"}
      pending={action.pending()}
      problem={action.problem()}
      fields={["subnet_id", "identifier", "identifier.kind", "identifier.value", "address", "hostname"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Show when={props.subnets}>
        {(subnets) => (
          <Field label="Subnet" name="subnet_id" problem={action.problem()}>
            {(attributes) => (
              <select
                {...attributes}
                class="input"
                onChange={(event) => setFields("subnet_id", Number(event.currentTarget.value))}
              >
                <For each={subnets()}>
                  {(subnet) => (
                    <option value={subnet.id} selected={subnet.id === fields.subnet_id}>
                      {titleOf(subnet)}
                    </option>
                  )}
                </For>
              </select>
            )}
          </Field>
        )}
      </Show>
      <Field label="Client named by" name="identifier.kind" problem={action.problem()}>
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) => setFields("kind", event.currentTarget.value as IdentifierKind)}
          >
            <For each={Object.entries(IDENTIFIERS)}>
              {([kind, identifier]) => (
                <option value={kind} selected={kind === fields.kind}>
                  {identifier.text}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
      <Field
        label={IDENTIFIERS[fields.kind].text}
        name={action.problem()?.key === "identifier" ? "identifier" : "identifier.value"}
        hint={IDENTIFIERS[fields.kind].hint}
        problem={action.problem()}
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={fields.value}
            required
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setFields("value", event.currentTarget.value)}
          />
        )}
      </Field>
      <Field
        label="Address"
        name="address"
        hint={
          props.subnets
            ? "Any address of the subnet, in a pool or outside of them. Empty: one from a pool, with the rest of what is said here"
            : "Any address of the subnet, in a pool or outside of them"
        }
        problem={action.problem()}
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={fields.address}
            required={props.subnets === undefined}
            inputmode="decimal"
            autocomplete="off"
            onInput={(event) => setAddress(event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Hostname (optional)" name="hostname" problem={action.problem()}>
        {(attributes) => (
          <input
            {...attributes}
            class="input"
            value={fields.hostname}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setFields("hostname", event.currentTarget.value)}
          />
        )}
      </Field>
      <Show when={props.existing}>{(existing) => <FurtherSettings reservation={existing()} />}</Show>
    </FormDialog>
  );
}

export function HostnameDialog(props: DialogProps & { lease: Lease }) {
  const [hostname, setHostname] = createSignal(props.lease.hostname ?? "");
  const action = createAction(async () => {
    await api.patch(`/dhcp/leases/${props.lease.address}`, { hostname: hostname().trim() || null });
    notify(`Changed the hostname of ${props.lease.address}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Hostname of ${props.lease.address}`}
      submit="Save"
      pending={action.pending()}
      problem={action.problem()}
      fields={["hostname"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field
        label="Hostname"
        name="hostname"
        hint="For this lease. To keep a name for good, reserve the address."
        problem={action.problem()}
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input"
            value={hostname()}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setHostname(event.currentTarget.value)}
          />
        )}
      </Field>
    </FormDialog>
  );
}

export function AddLeaseDialog(props: DialogProps) {
  const [draft, setDraft] = createStore({ address: "", mac: "", hostname: "", minutes: "" });
  const action = createAction(async () => {
    await api.post("/dhcp/leases", {
      address: draft.address.trim(),
      mac: draft.mac.trim(),
      ...(draft.hostname.trim() === "" ? {} : { hostname: draft.hostname.trim() }),
      ...(draft.minutes === "" ? {} : { lease_time: Number(draft.minutes) * 60 }),
    });
    notify(`Added a lease of ${draft.address.trim()}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title="Add a lease"
      submit="Add lease"
      pending={action.pending()}
      problem={action.problem()}
      fields={["address", "mac", "hostname", "lease_time"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p class="muted">
        For a device that holds its address already. To give a device the same address each time, add a
        reservation.
      </p>
      <Field label="Address" name="address" problem={action.problem()}>
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={draft.address}
            required
            inputmode="decimal"
            autocomplete="off"
            onInput={(event) => setDraft("address", event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="MAC address" name="mac" hint="Such as 52:54:00:12:34:56" problem={action.problem()}>
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={draft.mac}
            required
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setDraft("mac", event.currentTarget.value)}
          />
        )}
      </Field>
      <div class="form-pair">
        <Field label="Hostname (optional)" name="hostname" problem={action.problem()}>
          {(attributes) => (
            <input
              {...attributes}
              class="input"
              value={draft.hostname}
              spellcheck={false}
              autocomplete="off"
              onInput={(event) => setDraft("hostname", event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Minutes (optional)" name="lease_time" problem={action.problem()}>
          {(attributes) => (
            <input
              {...attributes}
              class="input"
              type="number"
              min="1"
              value={draft.minutes}
              placeholder="The subnet's"
              onInput={(event) => setDraft("minutes", event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
    </FormDialog>
  );
}
