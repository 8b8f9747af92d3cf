import { DropdownMenu } from "@kobalte/core/dropdown-menu";
import { For } from "solid-js";
import { Icon, type IconName } from "./icon";

export interface MenuItem {
  text: string;
  icon: IconName;
  danger?: boolean;
  onSelect: () => void;
}

/** The "more" button of a row. */
export function RowMenu(props: { label: string; items: MenuItem[] }) {
  return (
    <DropdownMenu placement="bottom-end" gutter={4}>
      <DropdownMenu.Trigger class="button quiet small icon" aria-label={props.label}>
        <Icon name="more" />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content class="menu">
          <For each={props.items}>
            {(item) => (
              <DropdownMenu.Item
                class="menu-item"
                classList={{ danger: item.danger ?? false }}
                onSelect={() => item.onSelect()}
              >
                <Icon name={item.icon} />
                {item.text}
              </DropdownMenu.Item>
            )}
          </For>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu>
  );
}
