// Fills in where this page came from, and how long that took.
for (const place of document.querySelectorAll(".here")) place.textContent = location.origin;

addEventListener("load", () => {
  setTimeout(() => {
    const [page] = performance.getEntriesByType("navigation");
    const milliseconds = (value) => `${value.toFixed(1)} ms`;
    const shown = [
      milliseconds(page.responseStart - page.startTime),
      milliseconds(page.loadEventEnd - page.startTime),
      page.nextHopProtocol || "unknown",
    ];
    document.querySelectorAll("#timing dd").forEach((cell, index) => {
      cell.textContent = shown[index];
    });
  });
});
