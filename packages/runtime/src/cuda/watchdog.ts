/** @file A watchdog's report in words: which SM waited where, for what, and what it saw. Pure. */
import { runtimeError, type MpkError } from "../errors.ts";
import { ControlWord, type Manifest, ReportKind } from "@mpk/cuda/manifest";

/** What was waited for, by kind, given the report's event or chunk. */
const waits: Readonly<Record<number, (at: number) => string>> = {
  [ReportKind.event]: (event) => `event ${event}`,
  [ReportKind.flag]: (input) => `words of its input ${input}`,
  [ReportKind.stream]: (chunk) => `chunk ${chunk} of its weight stream`,
};

/** The error for a kernel that its watchdog ended; `control` is the host-mapped block. */
export function watchdogError(manifest: Manifest, control: Uint32Array): MpkError {
  const word = (name: keyof typeof ControlWord) => control[ControlWord[name]] ?? 0;
  const op = manifest.ops[word("reportOp")];
  const where = op === undefined
    ? `op ${word("reportOp")}`
    : `${op.kind} of ${op.scope || "the program"}${op.site === "" ? "" : ` (${op.site})`}`;
  const kind = word("reportKind");
  const at = word("reportEvent");
  const value = kind === ReportKind.flag ? flaggedInput(manifest, word("reportOp"), at) : "";
  const target = `${waits[kind]?.(at) ?? `something of kind ${kind}`}${value}`;
  return runtimeError(
    `the watchdog ended the kernel: in step ${word("reportStep")}, SM ${word("reportSm")}, ` +
      `instruction ${word("reportInstruction")}, ${where} waited for ${target}: ` +
      `expected ${word("reportExpected")}, saw ${word("reportSeen")}`,
    "run `mpk verify` on the same input; on a slow or shared GPU raise --watchdog-seconds",
  );
}

/** The value that an op polls: no event stands for it. */
function flaggedInput({ memory }: Manifest, op: number, input: number): string {
  const found = memory.flags?.inputs.find((polled) => polled.op === op && polled.input === input);
  return found === undefined ? "" : `, the flagged ${found.value}`;
}
