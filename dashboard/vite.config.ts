import type { Plugin } from "vite";
import solid from "vite-plugin-solid";
import { defineConfig } from "vitest/config";

/** Puts the theme before everything else; a classic script, so Vite cannot bundle it from index.html. */
const themeFirst: Plugin = {
  name: "theme-first",
  transformIndexHtml: () => [{ tag: "script", attrs: { src: "./theme.js" }, injectTo: "head" }],
};

export default defineConfig({
  // Relative addresses let the server mount the dashboard under any path.
  base: "./",
  plugins: [solid(), themeFirst],
  build: {
    target: "es2022",
    // Inlined assets would be data: URLs, which the server's content security policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    // The Host stays the browser's own: the server refuses a change whose Origin is another (CSRF).
    proxy: { "/api": { target: process.env.OUTWORK_URL ?? "http://127.0.0.1:8067", changeOrigin: false } },
  },
  test: {
    include: ["src/**/*.test.ts"],
    environment: "node",
  },
});
