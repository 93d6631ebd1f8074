/** @file Reads the bodies of an emitted source text back; tables are read by the package itself. */
export { constantOf, tableOf, tasksOf } from "../../src/readback.ts";
export type { EmittedTask } from "../../src/readback.ts";

export interface EmittedBody {
  readonly struct: string;
  /** The device function without its `run_`. */
  readonly run: string;
  /** The op it was made for first. */
  readonly kind: string;
  readonly text: string;
}

/** Bodies by number, as the kernel's switch calls them. */
export function bodiesOf(source: string): readonly EmittedBody[] {
  const cases = source.matchAll(/^ {4}case (\d+):\n {6}run_(\w+)<(\w+)>\(c, in\);\n {6}break;$/gm);
  return Array.from(cases, ([, number, run = "", struct = ""], i) => {
    if (Number(number) !== i) throw new Error(`case ${number} is number ${i} of the switch`);
    const start = source.indexOf(`\nstruct ${struct} {`);
    const [, kind = ""] = /\/\/ (\w+), first at [\w. -]+$/.exec(source.slice(0, start)) ?? [];
    return { struct, run, kind, text: source.slice(start + 1, source.indexOf("\n};", start) + 3) };
  });
}
