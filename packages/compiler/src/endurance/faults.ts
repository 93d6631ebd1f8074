/** @file Faults planted into a kernel that works: each must end soon, in words, and harm nothing else. */
import type { Manifest } from "@mpk/cuda";
import type { Session, StoredTensor, Weights } from "@mpk/runtime";
import type { Plan } from "@mpk/schedule";
import { runRequest } from "./generate.ts";

/** A fault, and what must be said of it. */
export interface Fault {
  readonly name: string;
  /** The kernel's text with the fault in it. */
  readonly edit?: (source: string) => string;
  readonly weights?: (weights: Weights) => Weights;
  /** Prompt tokens, and tokens asked for, with which the fault shows. */
  readonly promptTokens: number;
  readonly tokens: number;
  /** Tokens that a prompt of one step gets before the fault shows; 0: it always shows. */
  readonly unharmed: number;
  readonly says: RegExp;
}

/** Where a fault is planted. */
interface Place {
  readonly op: number;
  readonly sm: number;
  readonly scope: string;
}

/** The middle task of an op of the middle layer. */
function placeOf(plan: Plan, manifest: Manifest, kind: string): Place | null {
  const ops = manifest.ops.flatMap((op, index) =>
    op.kind === kind && /^layers\.\d/.test(op.scope) ? [{ index, scope: op.scope }] : []);
  const found = ops[ops.length >> 1];
  if (found === undefined) return null;
  const tasks = Array.from(plan.tasks.op.keys()).filter((t) => plan.tasks.op[t] === found.index);
  const sm = plan.tasks.sm[tasks[tasks.length >> 1] ?? 0] ?? 0;
  return { op: found.index, sm, scope: found.scope };
}

/** @throws where the text to change is not there: the kernel has become another. */
function changed(source: string, from: string, to: string): string {
  if (source.includes(from)) return source.replace(from, () => to);
  throw new Error(`the emitted source has no ${JSON.stringify(from)}`);
}

/**
 * Until the kernel gives up or is over, and no longer than some seconds: the GPU must not be lost with a
 * test. Two looks at one word in a row let the emulator's other threads run.
 */
const stall = "for (u32 looks = 0; looks < (1u << 22) && load_relaxed_gpu(abort_word(*c.params)) == 0 &&\n" +
  "           load_relaxed_gpu(abort_word(*c.params)) == 0 &&\n" +
  "           *static_cast<volatile u32*>(&c.shared->leave) == 0; looks++) {\n      }";
/** The fourth step of one token, behind a prompt of one step. */
const step = 4;
const layer = String.raw`\S+ of \S*layers\.\d+\S*( \([^)]*\))?`;
const hang = (at: number, what: string): RegExp => new RegExp(
  `^the watchdog ended the kernel: in step ${at}, SM \\d+, instruction \\d+, ${layer} ` +
    `waited for ${what}`,
);

/** Faults that this plan can have. */
export function faultsOf(plan: Plan, manifest: Manifest): readonly Fault[] {
  const at = placeOf(plan, manifest, "linear") ?? placeOf(plan, manifest, "attention");
  if (at === null) throw new Error("the plan has no layers");
  const many = manifest.limits.maxTokens + 1;
  const here = `c.sm == ${at.sm}u && c.step == ${step}u`;
  const isFlagged = plan.flags !== undefined;
  const signals = "for (u32 i = 0; i < in[kWordSignals]; i++) {\n";
  const word = "store_relaxed_gpu(to, value == kAbsent ? kOtherNan : value);";
  const common = { promptTokens: 3, tokens: 12, unharmed: step } as const;
  const lostInPrompt: Fault = {
    name: "a lost signal, in a prompt's step",
    edit: (s) => changed(s, signals,
      `${signals}      if (c.step == 1u && in[kWordOp] == ${at.op}u && c.sm == ${at.sm}u) continue;\n`),
    // Two steps of several tokens.
    promptTokens: many + 1, tokens: 4, unharmed: 1,
    says: hang(1, "event \\d+: expected \\d+, saw \\d+"),
  };
  const lostWord: Fault = {
    ...common,
    name: "a lost word of a flagged value",
    edit: (s) => changed(s, word, `if (!(${here})) ${word}`),
    says: hang(step, "words of its input \\d+, the flagged \\S+"),
  };
  return [
    ...(many > 2 ? [lostInPrompt] : []),
    ...(isFlagged ? [lostWord] : []),
    {
      ...common,
      name: "an SM that stops",
      edit: (s) => changed(s, "      run_body(c, in);\n",
        `      if (${here} && in[kWordOp] == ${at.op}u) ${stall}\n      run_body(c, in);\n`),
      says: hang(step, ""),
    },
    {
      ...common,
      name: "weights that never come",
      edit: (s) => changed(
        changed(s, "      cursor.next(share.size);\n",
          "      const u32 op = cursor.at(kWordOp);\n      cursor.next(share.size);\n"),
        "        producer.copy(c, src, share.bytes);\n",
        `        if (${here} && op == ${at.op}u) {\n      ${stall}\n` +
          // They do not come after the alarm either: who waits for them has to say so.
          "          producer.leaving = true;\n        }\n        producer.copy(c, src, share.bytes);\n",
      ),
      says: hang(step, "chunk \\d+ of its weight stream"),
    },
    {
      ...common,
      name: "an impossible token out of the kernel",
      edit: (s) => changed(s, "void publish_token(Context& c, u32 token) {\n",
        `void publish_token(Context& c, u32 token) {\n  if (c.step == ${step}u) token = kVocab + 5;\n`),
      says: new RegExp(`^sample, step ${step}: no token could be chosen`),
    },
    {
      ...common,
      name: "a NaN in a weight",
      weights: (sound) => withNaN(sound, manifest, at.op),
      unharmed: 0,
      says: new RegExp(String.raw`^sample, step 0: no token .*tensor "\S*layers\.\d+\S*" holds NaN or ` +
        String.raw`infinity at \[1, 2\], read by linear of \S*layers\.\d+`),
    },
  ];
}

/** One NaN in the first tensor of a streamed op: row 1, column 2. */
function withNaN(sound: Weights, manifest: Manifest, op: number): Weights {
  const entry = manifest.pack.find((one) => one.op === op) ?? manifest.pack[0];
  const name = entry?.groups[0]?.parts[0]?.tensor ?? "";
  const spoil = (stored: StoredTensor): StoredTensor => {
    if (stored.name !== name) return stored;
    const width = stored.dtype === "F32" ? 4 : 2;
    const at = width * ((stored.shape.at(-1) ?? 0) + 2);
    const bytes = stored.read().slice();
    bytes.fill(0xff, at, at + width);
    return { ...stored, read: (lo = 0, hi = bytes.length) => bytes.slice(lo, hi) };
  };
  return {
    ...sound,
    tensor: (wanted) => spoil(sound.tensor(wanted)),
    expect: (wanted, shape) => spoil(sound.expect(wanted, shape)),
  };
}

export interface FaultResult {
  readonly name: string;
  readonly passed: boolean;
  /** From asking to the error. */
  readonly seconds: number;
  /** The error, or what was wrong. */
  readonly seen: string;
}

/** Each fault must be told within this time. */
export const mostFaultSeconds = 2;

const promptOf = (tokens: number): readonly number[] =>
  Array.from({ length: tokens }, (_, i) => 3 + 5 * i);

/**
 * Shows one fault. `sound` is a session of the same model without it on the same device: it must give
 * after the fault what it gave before, and so must the faulty one as far as the fault lets it.
 */
export async function showFault(
  fault: Fault,
  sound: Session,
  open: (fault: Fault) => Promise<Session>,
  now: () => number,
): Promise<FaultResult> {
  const healthy = { promptIds: promptOf(3), maxTokens: 12, eosIds: [] };
  const expected = (await runRequest(sound, healthy)).tokens;
  const faulty = await open(fault);
  try {
    const start = now();
    const request = { promptIds: promptOf(fault.promptTokens), maxTokens: fault.tokens, eosIds: [] };
    const seen = await runRequest(faulty, request).then(
      ({ tokens }) => `no error, tokens ${tokens.join(" ")}`,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    const seconds = (now() - start) / 1000;
    const problem = !fault.says.test(seen) ? "says something else"
      : seconds > mostFaultSeconds ? `took more than ${mostFaultSeconds} s`
      : await otherTokens(fault, sound, faulty, healthy, expected);
    const passed = problem === "";
    return { name: fault.name, passed, seconds, seen: passed ? seen : `${problem}: ${seen}` };
  } finally {
    await faulty.close();
  }
}

/** What comes after the fault, in both sessions; "": what it should be. */
async function otherTokens(
  { unharmed }: Fault,
  sound: Session,
  faulty: Session,
  healthy: { readonly promptIds: readonly number[]; readonly maxTokens: number },
  expected: readonly number[],
): Promise<string> {
  const after = (await runRequest(sound, healthy)).tokens;
  if (after.join() !== expected.join()) return "another session's next prompt has other tokens";
  if (unharmed === 0) return "";
  const own = (await runRequest(faulty, { ...healthy, maxTokens: unharmed })).tokens;
  const isSame = own.join() === expected.slice(0, unharmed).join();
  return isSame ? "" : "the same session's next prompt has other tokens";
}
