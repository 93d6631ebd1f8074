/** @file Test tiers: `unit` needs nothing, `nvcc` the CUDA compiler, `gpu` a device. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["@mpk/source"] },
  ssr: { resolve: { conditions: ["@mpk/source"], externalConditions: ["@mpk/source"] } },
  test: {
    include: ["packages/*/{src,test}/**/*.test.ts", "examples/**/*.test.ts", "docs/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "**/*.long.test.ts"],
    testTimeout: 60_000,
    pool: "forks",
  },
});
