// Runs before the first paint, so that a remembered theme never flashes the other one.
// It is a file of its own because the content security policy refuses inline scripts.
try {
  const theme = localStorage.getItem("outwork-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is refused in some private windows: the system's theme stands.
}
