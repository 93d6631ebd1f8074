/** @file `mpk inspect`: the Program and its plan, as text and as one HTML page. */
import { diffModels, inspectModel, type PlanView } from "@mpk/compiler";
import type { Command } from "commander";
import { planPage } from "../html.ts";
import { writeNamed, type Io } from "../io.ts";
import { withBars } from "../progress.ts";
import { bytes, reportText } from "../text.ts";
import { compileOptions, withShape, type ShapeOptions } from "./shared.ts";

const examples = `
Examples:
  $ mpk inspect path/to/checkpoint
  $ mpk inspect config.json --sms 16 --html plan.html
  $ mpk inspect plan.json --tasks           a saved plan, with every task
  $ mpk inspect old.json --diff new.json    what two plans do differently`;

interface Options extends ShapeOptions {
  readonly html?: string;
  readonly tasks?: boolean;
  readonly diff?: string;
  readonly json?: boolean;
}

export function inspectCommand(program: Command, io: Io): void {
  const command = program
    .command("inspect")
    .description("show the Program and its plan: ops, tasks per SM, edges")
    .argument("<model>", "checkpoint folder, config.json, model.ts, saved plan, or a shape by name")
    .option("--html <file>", "write one self-contained page instead of text")
    .option("--tasks", "also list every task, SM by SM")
    .option("--diff <other>", "print what differs from another model or saved plan instead")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples);
  withShape(command).action(async (source: string, options: Options) => {
    if (options.diff !== undefined) {
      const lines = await diffModels(source, options.diff, compileOptions(options));
      io.stdout.write(lines.length === 0 ? "the plans are equal\n" : `${lines.join("\n")}\n`);
      return;
    }
    const { view, text } = await withBars(io, (onProgress) =>
      inspectModel(source, { ...compileOptions(options), onProgress }),
    );
    if (options.html !== undefined) {
      writeNamed(options.html, planPage(view, text));
      io.stdout.write(`wrote ${options.html}\n`);
    } else if (options.json === true) {
      io.stdout.write(`${JSON.stringify({ ...view, program: text })}\n`);
    } else {
      io.stdout.write(`${text}\n${reportText(view.report)}\n${opsText(view)}`);
      if (options.tasks === true) io.stdout.write(tasksText(view));
    }
  });
}

function opsText(view: PlanView): string {
  const lines = view.ops.map((op) => {
    const before = view.edges.filter((edge) => edge.to === op.index && !edge.crossStep);
    const from = before.map((edge) => edge.from).join(", ");
    const work = op.tasks === 0
      ? "view"
      : `${op.tasks} tasks, ${op.tiles} tiles, ${bytes(op.streamedBytes)}`;
    const waits = from === "" ? "" : `; after ${from} (${op.waits} events)`;
    return `${String(op.index).padStart(4)}  ${op.kind.padEnd(10)} ${op.scope}: ${work}${waits}\n`;
  });
  return `ops, with the ops they wait for\n${lines.join("")}`;
}

function tasksText(view: PlanView): string {
  const lines = Array.from({ length: view.report.sms }, (_, sm) => {
    const tasks = view.tasks.filter((task) => task.sm === sm);
    return `  SM ${sm}: ${tasks.map((t) => `${t.op}[${t.tileLo}..${t.tileHi})`).join(" ")}\n`;
  });
  return `\ntasks by SM, as op[tiles)\n${lines.join("")}`;
}
