/** @file What compiling leaves on disk, and how a plan is shown and verified. */
import { printProgram } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import { inputError, kernelResources, type KernelResources } from "@mpk/runtime";
import { verify, type Plan, type VerifyReport } from "@mpk/schedule";
import { planModel, type Compiled, type CompileOptions } from "./compile.ts";
import { viewPlan, type PlanView } from "./inspect.ts";
import type { ModelSource } from "./load.ts";

/** The files of a compiled model by name. @throws where it was compiled without a target. */
export function compileFiles(compiled: Compiled): Readonly<Record<string, string>> {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) {
    throw inputError("the model was compiled without a target", "give one, such as sm_90a");
  }
  return { "kernel.cu": source, "manifest.json": `${JSON.stringify(manifest, null, 1)}\n` };
}

/** Verifies a model's plan; violations are a result, not an error. */
export async function verifyModel(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<{ readonly plan: Plan; readonly verification: VerifyReport }> {
  const { plan } = await planModel(source, options);
  return { plan, verification: verify(plan, scheduleTable) };
}

/** The Program's text form and its plan as tables. */
export async function inspectModel(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<{ readonly view: PlanView; readonly text: string }> {
  const { plan } = await planModel(source, options);
  return { view: viewPlan(plan), text: printProgram(plan.program) };
}

/** Builds the kernel with nvcc, for its registers and spills. */
export function buildForReport(
  compiled: Compiled,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<KernelResources> {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) throw new Error("compiled without a target");
  return kernelResources(source, manifest.target, manifest.entries.decode, env);
}
