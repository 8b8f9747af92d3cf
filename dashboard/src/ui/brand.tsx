/** The mark: an outwork, the fortification that stands before the wall, seen from above. */
export function Brand() {
  return (
    <svg class="brand-mark" viewBox="0 0 24 24" fill="none" stroke-width="2.6" aria-hidden="true">
      <path
        d="M3.5 18 12 4.5 20.5 18"
        stroke="var(--accent)"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
      <path
        d="M8.6 19.5 12 14l3.4 5.5"
        stroke="var(--muted)"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
