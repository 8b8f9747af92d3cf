import { type JSX, Show } from "solid-js";
import { useStatus } from "../status";
import type { IconName } from "./icon";
import { Empty } from "./states";
import { CopyButton } from "./widgets";

/** What to write into the configuration where there is nothing to show yet. */
export function Teach(props: {
  icon: IconName;
  title: string;
  snippet: string;
  /** Where a reload does not do. */
  restart?: boolean;
  children: JSX.Element;
}) {
  const status = useStatus();
  return (
    <Empty icon={props.icon} title={props.title}>
      <p>
        {props.children} Write it into {status.data()?.config_file ?? "a configuration file"}, then{" "}
        <Show when={!props.restart} fallback="restart Outwork.">
          reload from Settings or with <code>outwork reload</code>.
        </Show>
      </p>
      <pre class="snippet">{props.snippet}</pre>
      <CopyButton text={props.snippet} label="Copy" />
    </Empty>
  );
}
