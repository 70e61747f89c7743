import { resolve } from "node:path";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const page = (path: string): string => resolve(import.meta.dirname, path);

/** The API under which the pages are developed with `npm run dev`; built pages are served by the API itself. */
const api = process.env.CLENZY_API_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  base: "/",
  build: {
    target: "es2022",
    // Fonts and images stay files: the pages' Content-Security-Policy allows no data: fonts.
    assetsInlineLimit: 0,
    // MapLibre is one lazy chunk of about 1 MB before compression.
    chunkSizeWarningLimit: 1100,
    rolldownOptions: {
      input: { console: page("index.html"), worker: page("worker/index.html"), customer: page("customer/index.html"), trip: page("trip/index.html") },
    },
  },
  server: { proxy: { "/v1": api } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
