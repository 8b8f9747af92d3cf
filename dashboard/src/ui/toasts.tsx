import { Toast, toaster } from "@kobalte/core/toast";
import { Icon } from "./icon";
import type { ToastTone } from "./notify";

export function showToast(tone: ToastTone, title: string): void {
  toaster.show((props) => (
    <Toast toastId={props.toastId} class={`toast ${tone}`} persistent={tone !== "good"}>
      <Icon name={tone === "good" ? "check" : "alert"} />
      <div>
        <Toast.Title>{title}</Toast.Title>
      </div>
      <Toast.CloseButton class="button quiet small icon" aria-label="Dismiss">
        <Icon name="close" size={14} />
      </Toast.CloseButton>
    </Toast>
  ));
}

export default function Toasts() {
  return (
    <Toast.Region duration={5000} limit={4}>
      <Toast.List class="toasts" />
    </Toast.Region>
  );
}
