export type ToastTone = "good" | "warn" | "bad";

/** Says what came of a change; a warning or a refusal stays until it is dismissed. Toasts load with the first one. */
export function notify(title: string, tone: ToastTone = "good"): void {
  void import("./toasts").then((toasts) => toasts.showToast(tone, title));
}
