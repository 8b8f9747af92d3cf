import { defineConfig } from "vitest/config";

// One browser, one server, tests in order: later ones build on what the server has come to.
export default defineConfig({
  test: {
    include: ["e2e/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
