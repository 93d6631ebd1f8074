/** @file Plans of random decoders over the real op table. */
import { runPasses } from "@mpk/ir";
import { bodyTable, scheduleTable, semanticsTable } from "@mpk/ops";
import { plan, type Plan } from "@mpk/schedule";
import { machineArbitrary, planOptions } from "@mpk/schedule/testing";
import fc from "fast-check";
import { buildDecoder, decoderForms } from "../../../ops/test/passes/decoder.ts";
import { emit, type Emitted } from "../../src/index.ts";

/** Forms that the kernel has bodies for: bf16 products, heads of 16 or 32, a choice at the end. */
export const decoderPlans: fc.Arbitrary<Plan> = fc
  .record({
    form: decoderForms,
    headDim: fc.constantFrom(16, 32),
    casts: fc.constantFrom("each" as const, "shared" as const),
    machine: machineArbitrary(1, 6),
    // The kernel takes two consumer warps or more.
    options: planOptions().filter(({ consumerWarps = 8 }) => consumerWarps > 1),
  })
  .map(({ form, headDim, casts, machine, options }) => {
    const program = buildDecoder({
      ...form, hidden: form.hidden + 29, headDim, casts, sample: true,
    });
    return plan(runPasses(program, semanticsTable), scheduleTable, machine, options);
  });

export const emitReal = (made: Plan, target = "sm_90a", profile = false): Emitted =>
  emit(made, scheduleTable, bodyTable, { target, profile });
