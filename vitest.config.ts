/**
 * @file Which tests run: `x.test.ts` always, `x.{spin,browser,emu,nvcc,gpu}.test.ts` where the machine
 * has SPIN, chromium, a C++ compiler, nvcc or a GPU, and with MPK_LONG=1 only the slow ones, `x.long.test.ts`.
 */
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { detectTiers } from "./scripts/tiers.ts";

const long = process.env["MPK_LONG"] === "1";
const folders = ["packages/*/{src,test}/**", "examples/**", "docs/**", "scripts/**"];
const cannotRun = detectTiers().filter((tier) => tier.missing !== null);

export default defineConfig({
  resolve: { conditions: ["@mpk/source"] },
  ssr: { resolve: { conditions: ["@mpk/source"], externalConditions: ["@mpk/source"] } },
  test: {
    include: folders.map((folder) => `${folder}/*${long ? ".long" : ""}.test.ts`),
    exclude: [
      "**/node_modules/**",
      "**/dist/**",
      ...(long ? [] : ["**/*.long.test.ts"]),
      ...cannotRun.map((tier) => `**/*.${tier.name}.{test,long.test}.ts`),
    ],
    testTimeout: long ? 600_000 : 60_000,
    pool: "forks",
    maxWorkers: availableParallelism(),
  },
});
