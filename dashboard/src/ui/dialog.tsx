import { Dialog as Kobalte } from "@kobalte/core/dialog";
import { type JSX, Show } from "solid-js";
import type { Problem } from "../api/client";
import { Icon } from "./icon";
import { ProblemNotice } from "./states";

interface Frame {
  title: JSX.Element;
  onClose: () => void;
  children: JSX.Element;
}

function Head(props: { title: JSX.Element }) {
  return (
    <div class="dialog-head">
      <Kobalte.Title as="h2">{props.title}</Kobalte.Title>
      <Kobalte.CloseButton class="button quiet icon" aria-label="Close">
        <Icon name="close" />
      </Kobalte.CloseButton>
    </div>
  );
}

function onOpenChange(close: () => void): (open: boolean) => void {
  return (open) => {
    if (!open) close();
  };
}

/** A form opens with the cursor in its first field, not on its close button. */
function focusFirstField(event: Event): void {
  const field = (event.currentTarget as HTMLElement | null)?.querySelector<HTMLElement>(
    "input, select, textarea",
  );
  if (!field) return;
  event.preventDefault();
  field.focus();
}

/**
 * Gives the focus back, once the dialog is gone, to what had it when it came: the keyboard goes on where it was. What a
 * menu opened gives it back to the menu's button, as the menu itself is gone by then.
 */
function returnsFocus(): (event: Event) => void {
  const active = document.activeElement;
  const menu = active?.closest("[role=menu]");
  const before = menu ? document.getElementById(menu.getAttribute("aria-labelledby") ?? "") : active;
  return (event) => {
    if (!(before instanceof HTMLElement && before.isConnected)) return;
    event.preventDefault();
    before.focus();
  };
}

/** A form in a dialog. It is open for as long as it is mounted. */
export function FormDialog(
  props: Frame & {
    submit: string;
    danger?: boolean;
    disabled?: boolean;
    pending: boolean;
    problem: Problem | null;
    /** Names of fields that show a refusal of their own, so that it is not told twice. */
    fields?: string[];
    onSubmit: () => void;
  },
) {
  const general = () => {
    const problem = props.problem;
    return problem?.key && props.fields?.includes(problem.key) ? null : problem;
  };
  const giveBack = returnsFocus();
  return (
    <Kobalte open onOpenChange={onOpenChange(props.onClose)}>
      <Kobalte.Portal>
        <Kobalte.Overlay class="overlay" />
        <div class="dialog-place">
          <Kobalte.Content class="dialog" onOpenAutoFocus={focusFirstField} onCloseAutoFocus={giveBack}>
            <Head title={props.title} />
            <form
              onSubmit={(event) => {
                event.preventDefault();
                props.onSubmit();
              }}
            >
              <div class="dialog-body">
                {props.children}
                <Show when={general()}>{(problem) => <ProblemNotice problem={problem()} />}</Show>
              </div>
              <div class="dialog-foot">
                <button type="button" class="button" onClick={() => props.onClose()}>
                  Cancel
                </button>
                <button
                  type="submit"
                  class="button primary"
                  classList={{ danger: props.danger ?? false }}
                  disabled={props.pending || (props.disabled ?? false)}
                >
                  {props.submit}
                </button>
              </div>
            </form>
          </Kobalte.Content>
        </div>
      </Kobalte.Portal>
    </Kobalte>
  );
}

/** Something to read, with its own buttons. */
export function PlainDialog(props: Frame & { foot: JSX.Element }) {
  const giveBack = returnsFocus();
  return (
    <Kobalte open onOpenChange={onOpenChange(props.onClose)}>
      <Kobalte.Portal>
        <Kobalte.Overlay class="overlay" />
        <div class="dialog-place">
          <Kobalte.Content class="dialog" onCloseAutoFocus={giveBack}>
            <Head title={props.title} />
            <div class="dialog-body">{props.children}</div>
            <div class="dialog-foot">{props.foot}</div>
          </Kobalte.Content>
        </div>
      </Kobalte.Portal>
    </Kobalte>
  );
}

/** The details of one row, at the side. */
export function Drawer(props: Frame & { foot?: JSX.Element }) {
  const giveBack = returnsFocus();
  return (
    <Kobalte open onOpenChange={onOpenChange(props.onClose)}>
      <Kobalte.Portal>
        <Kobalte.Overlay class="overlay" />
        <Kobalte.Content class="drawer" onCloseAutoFocus={giveBack}>
          <Head title={props.title} />
          <div class="dialog-body">{props.children}</div>
          <Show when={props.foot}>
            <div class="dialog-foot">{props.foot}</div>
          </Show>
        </Kobalte.Content>
      </Kobalte.Portal>
    </Kobalte>
  );
}
