/** Says that a change was made. Toasts load with the first one. */
export function notify(title: string, tone: "good" | "bad" = "good"): void {
  void import("./toasts").then((toasts) => toasts.showToast(tone, title));
}
