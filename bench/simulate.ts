/**
 * @file Simulates a step of the public shapes on an H200, with counters and with flags in the data.
 *
 *     node --conditions=@mpk/source bench/simulate.ts [SHAPE …] [--context 96]
 *
 * Prints milliseconds a step, and what kept the memory waiting. The constants are estimates: see
 * `h200Constants`.
 */
import { parseArgs } from "node:util";
import { planModel } from "@mpk/compiler";
import { knownShapes, modelFromConfig } from "@mpk/models";
import { scheduleTable } from "@mpk/ops";
import { h200Constants, idleCauses, simulate, type Plan, type Simulation } from "@mpk/schedule";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { context: { type: "string", default: "96" } },
});
const shapes = positionals.length > 0 ? positionals : ["llama-3.2-1b", "qwen3-0.6b", "qwen3-8b"];

/** The largest parts of the time in which the memory stood still. */
function largest(plan: Plan, { idleNanos }: Simulation): string {
  const parts = new Map<string, number>();
  for (const cause of idleCauses) {
    idleNanos[cause].forEach((nanos, op) => {
      const { kind = "", scope = "" } = plan.program.ops[op] ?? {};
      const name = `${cause} of ${kind} ${scope.replace(/^layers\.\d+\./, "")}`.trim();
      parts.set(name, (parts.get(name) ?? 0) + nanos);
    });
  }
  const sorted = [...parts].sort(([, a], [, b]) => b - a).slice(0, 4);
  return sorted.map(([name, nanos]) => `${name} ${(nanos / 1000).toFixed(0)} µs`).join(", ");
}

const known = knownShapes();
for (const shape of shapes) {
  const config = known[shape]?.config;
  if (config === undefined) {
    throw new Error(`no shape ${shape}; there are ${Object.keys(known).join(", ")}`);
  }
  const program = modelFromConfig(config, { maxTokens: 8, maxContext: 256 });
  for (const protocol of ["counter", "flag"] as const) {
    const { plan } = await planModel(program, { plan: { protocol } });
    const result = simulate(plan, scheduleTable, h200Constants, { context: Number(values.context) });
    const [step, floor] = [result.stepNanos, result.floorNanos].map((x) => (x / 1e6).toFixed(3));
    console.log(`${shape} ${protocol}: ${step} ms, floor ${floor}; ${largest(plan, result)}`);
  }
}
