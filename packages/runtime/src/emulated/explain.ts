/** @file Puts names of the emitted source in place of a fault's addresses. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** One inlined call: the function without its parameters, and `file:line`. */
interface Frame {
  readonly name: string;
  readonly place: string;
}

/** Calls at an address, innermost first; empty where the tool or debug information is missing. */
async function framesAt(program: string, address: string): Promise<readonly Frame[]> {
  const told = await run("addr2line", ["-f", "-C", "-i", "-s", "-e", program, address])
    .catch(() => null);
  const lines = told?.stdout.trim().split("\n") ?? [];
  const frames: Frame[] = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const name = (lines[i] ?? "").replace(/^\w+ (?=\w+[<(])/, "").replace(/\(.*$/, "");
    frames.push({ name, place: (lines[i + 1] ?? "").replace(/ \(discriminator \d+\)$/, "") });
  }
  return frames;
}

/** The op that a body was emitted for: the comment above its struct. */
function opOf(source: string, frames: readonly Frame[]): string {
  const body = frames.map(({ name }) => /<(Body\d+)\b/.exec(name)?.[1]).find(Boolean);
  if (body === undefined) return "";
  const at = source.indexOf(`\nstruct ${body} `);
  const comment = source.slice(0, at).split("\n").at(-1) ?? "";
  return comment.startsWith("// ") ? `, ${comment.slice(3)}` : "";
}

/**
 * A fault's text with `@0x…` replaced: the line of the emitted source, the functions it is in, and
 * the op they were emitted for.
 */
export async function explainFault(
  text: string,
  program: string,
  source: string,
): Promise<string> {
  let explained = text;
  for (const [mark, address = ""] of text.matchAll(/@(0x[\da-f]+)/g)) {
    const all = await framesAt(program, address);
    const frames = all.filter(({ place }) => place.startsWith("kernel.cu:"));
    const [inner] = frames;
    if (inner === undefined) continue;
    const outer = frames.find(({ name }) => name.startsWith("run_"));
    const within = outer === undefined || outer === inner ? "" : ` in ${outer.name}`;
    explained = explained.replace(
      mark, `at ${inner.place} (${inner.name}${within}${opOf(source, frames)})`,
    );
  }
  return explained;
}
