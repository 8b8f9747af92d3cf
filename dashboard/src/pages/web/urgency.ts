import type { Certificate } from "../../api/web-types";
import { count } from "../../format";

const DAY = 86_400;

/** How urgent the end of a certificate is. What renews itself does so while a third of its life is left. */
export function urgency(certificate: Certificate): { tone: "good" | "warn" | "bad"; text: string } {
  if (certificate.provisional) return { tone: "warn", text: "stands in" };
  const left = certificate.expires_in_seconds;
  if (left <= 0) return { tone: "bad", text: "expired" };
  const days = Math.floor(left / DAY);
  const text = days === 0 ? "hours left" : days === 1 ? "1 day left" : `${count(days)} days left`;
  if (certificate.kind !== "files" && certificate.failures === 0) {
    const life = (Date.parse(certificate.not_after) - Date.parse(certificate.not_before)) / 1000;
    return { tone: left < life / 10 ? "warn" : "good", text };
  }
  return { tone: days < 7 ? "bad" : days < 30 ? "warn" : "good", text };
}
