import { createSignal, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api } from "../../api/client";
import { createAction } from "../../api/query";
import type { IdentifierKind, Lease, Reservation, ReservationDraft, Subnet } from "../../api/types";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Field } from "../../ui/widgets";

interface DialogProps {
  onClose: () => void;
  onDone: () => void;
}

const IDENTIFIERS: Record<IdentifierKind, { text: string; hint: string }> = {
  mac: { text: "MAC address", hint: "Such as 52:54:00:12:34:56" },
  client_id: { text: "Client id (option 61)", hint: "Hexadecimal, as a lease shows it" },
  circuit_id: {
    text: "Relay circuit id (option 82.1)",
    hint: "The switch port, as the relay agent sends it",
  },
  remote_id: { text: "Relay remote id (option 82.2)", hint: "The relay's own name, as it sends it" },
  flex: { text: "Flex expression value", hint: "What the subnet's flex expression gives for the client" },
};

/** Named in the order of how surely they name the device: its hardware address, else what it calls itself. */
export function reservationFrom(lease: Lease): ReservationDraft {
  const identifier =
    lease.mac === null
      ? { kind: "client_id" as const, value: lease.client_id ?? "" }
      : { kind: "mac" as const, value: lease.mac };
  return { subnet_id: lease.subnet_id, identifier, address: lease.address, hostname: lease.hostname };
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
  const [draft, setDraft] = createStore({
    subnet_id: props.draft.subnet_id,
    kind: props.draft.identifier.kind,
    value: props.draft.identifier.value,
    address: props.draft.address,
    hostname: props.draft.hostname ?? "",
  });
  const action = createAction(async () => {
    const body: ReservationDraft = {
      subnet_id: draft.subnet_id,
      identifier: { kind: draft.kind, value: draft.value.trim() },
      address: draft.address.trim(),
      hostname: draft.hostname.trim() || null,
    };
    if (props.existing) await api.put(`/dhcp/reservations/${encodeURIComponent(props.existing.id)}`, body);
    else await api.post("/dhcp/reservations", body);
    notify(`${props.existing ? "Changed the reservation of" : "Reserved"} ${body.address}`);
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
                onChange={(event) => setDraft("subnet_id", Number(event.currentTarget.value))}
              >
                <For each={subnets()}>
                  {(subnet) => (
                    <option value={subnet.id} selected={subnet.id === draft.subnet_id}>
                      {subnet.prefix}
                      {subnet.name ? ` (${subnet.name})` : ""}
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
            onChange={(event) => setDraft("kind", event.currentTarget.value as IdentifierKind)}
          >
            <For each={Object.entries(IDENTIFIERS)}>
              {([kind, identifier]) => (
                <option value={kind} selected={kind === draft.kind}>
                  {identifier.text}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
      <Field
        label={IDENTIFIERS[draft.kind].text}
        name={action.problem()?.key === "identifier" ? "identifier" : "identifier.value"}
        hint={IDENTIFIERS[draft.kind].hint}
        problem={action.problem()}
      >
        {(attributes) => (
          <input
            {...attributes}
            class="input mono"
            value={draft.value}
            required
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setDraft("value", event.currentTarget.value)}
          />
        )}
      </Field>
      <Field
        label="Address"
        name="address"
        hint="Any address of the subnet, in a pool or outside of them"
        problem={action.problem()}
      >
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
