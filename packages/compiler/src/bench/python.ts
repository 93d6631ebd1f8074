/** @file The repository's Python script: PyTorch beside us and the fidelity gate, if it can run. */
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf, type Environment } from "@mpk/runtime";
import { isMeasured, notMeasured, type Fidelity, type NotMeasured, type TorchBaseline } from "./result.ts";

/** The scripts lie in the repository, not in the package. */
const scripts = fileURLToPath(new URL("../../../../bench/", import.meta.url));
/** 70 GB of weights are made and run, and a step compiled, in less. */
const longestMillis = 6 * 60_000;

export interface Python {
  readonly command: string;
  readonly folder: string;
}

/** Python with all that the script needs, or exactly what is missing. */
export async function findPython(
  env: Environment,
  folder = scripts,
): Promise<Python | NotMeasured> {
  if (!existsSync(join(folder, "beside.py"))) {
    return notMeasured(`${folder} is missing: the scripts come with the repository`);
  }
  const command = env["MPK_PYTHON"] ?? "python3";
  const check = "import importlib.util as u; print(*[m for m in ('torch', 'transformers', " +
    "'safetensors', 'numpy') if u.find_spec(m) is None])";
  const told = await run(command, ["-c", check], env);
  if (told instanceof Error) return notMeasured(`${command} cannot run: ${lastLine(told.message)}`);
  const missing = told.trim();
  if (missing === "") return { command, folder };
  return notMeasured(`${command} lacks ${missing.replaceAll(" ", ", ")}: pip install them`);
}

async function run(
  command: string,
  args: readonly string[],
  env: Environment,
): Promise<string | Error> {
  try {
    return (await promisify(execFile)(command, [...args], { env: { ...env }, timeout: 60_000 })).stdout;
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

const lastLine = (text: string): string =>
  text.trim().split("\n").findLast((line) => line.trim() !== "")?.trim() ?? "no output";

export interface Beside {
  readonly torch: TorchBaseline | NotMeasured;
  readonly fidelity: Fidelity | NotMeasured;
  /** By part. */
  readonly seconds: Readonly<Record<string, number>>;
}

export interface BesideRequest {
  /** Contents of the config.json. */
  readonly config: unknown;
  /** Folder with weights; null: those of `seed` are made. */
  readonly checkpoint: string | null;
  readonly seed: bigint;
  readonly context: number;
  readonly tokensPerStep: number;
  /** A launch of ours from an empty cache, teacher-forced there. */
  readonly run: NotMeasured | {
    readonly prompt: readonly number[];
    readonly tokens: readonly number[];
    readonly logits: readonly Float32Array[];
  };
}

export interface BesideProcess {
  /** Runs what was asked for on the same weights. Never throws: what fails says why. */
  measure(request: BesideRequest): Promise<Beside>;
  /** Ends it, whatever it does. */
  close(): void;
}

interface Wanted {
  readonly wantsTorch: boolean;
  readonly wantsFidelity: boolean;
}

type Answer = Readonly<Record<string, unknown>>;

const unasked = notMeasured("not asked for: add --baseline torch");
const noCounterpart = notMeasured("only steps of one token have a counterpart");

/** Starts Python, which imports what it needs, and touches the GPU only when asked to measure. */
export function besideOf(
  { wantsTorch, wantsFidelity }: Wanted,
  env: Environment,
  folder = scripts,
): BesideProcess {
  const spawned = wantsTorch || wantsFidelity
    ? findPython(env, folder).then((python) => (isMeasured(python) ? start(python, env) : python))
    : Promise.resolve(unasked);
  return {
    async measure({ config, checkpoint, seed, context, tokensPerStep, run: ours }) {
      const child = await spawned;
      if (!isMeasured(child)) return { torch: child, fidelity: child, seconds: {} };
      const times = wantsTorch && tokensPerStep === 1;
      const noTorch = wantsTorch ? noCounterpart : unasked;
      const held = wantsFidelity && isMeasured(ours) ? await writeRun(child.scratch, ours) : null;
      const without = isMeasured(ours) ? unasked : ours;
      if (!times && held === null) return { torch: noTorch, fidelity: without, seconds: {} };
      const { scratch } = child;
      const line = { config, checkpoint, seed: `${seed}`, context, torch: times, run: held, scratch };
      const answer = await child.ask(JSON.stringify(line));
      return {
        torch: times ? torchFrom(answer) : noTorch,
        fidelity: held === null ? without : fidelityFrom(answer),
        seconds: secondsFrom(answer),
      };
    },
    close: () => void spawned.then((child) => (isMeasured(child) ? child.close() : undefined)),
  };
}

function start(python: Python, env: Environment) {
  const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "mpk-bench-"));
  const child = spawn(python.command, [join(python.folder, "beside.py")], { env: { ...env } });
  const [out, err]: [string[], string[]] = [[], []];
  child.stdout.on("data", (text) => void out.push(String(text)));
  child.stderr.on("data", (text) => void err.push(String(text)));
  // It may be gone when it is written to: its exit tells why.
  child.stdin.on("error", () => undefined);
  const ended = new Promise<Answer>((resolve) => {
    child.on("error", (error) => resolve(notMeasured(messageOf(error)) as unknown as Answer));
    child.on("close", (code, signal) => resolve(
      answerFrom(out.join(""), signal === null ? lastLine(err.join("")) : `ended by ${signal}`, code)));
  });
  return {
    scratch,
    ask(line: string): Promise<Answer> {
      const timer = setTimeout(() => child.kill("SIGKILL"), longestMillis);
      child.stdin.end(`${line}\n`);
      return ended.finally(() => clearTimeout(timer));
    },
    close() {
      child.kill("SIGKILL");
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}

/** All that the script told, each line an object with parts of the answer; what is missing says why. */
function answerFrom(stdout: string, why: string, code: number | null): Answer {
  const told = stdout.split("\n").flatMap((line) => {
    try {
      return line.startsWith("{") ? [JSON.parse(line) as Answer] : [];
    } catch {
      return [];
    }
  });
  const failed = code === 0 ? {} : { failed: `beside.py failed: ${why}` };
  return Object.assign({}, failed, ...told) as Answer;
}

const missing = (part: unknown, { failed }: Answer): NotMeasured =>
  notMeasured([part, failed].find((each) => typeof each === "string") ?? "beside.py printed no result");

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

function torchFrom(answer: Answer): TorchBaseline | NotMeasured {
  const { torch } = answer;
  if (!isRecord(torch) || typeof torch["msPerToken"] !== "number") return missing(torch, answer);
  return { msPerToken: torch["msPerToken"], torch: String(torch["torch"]) };
}

function fidelityFrom(answer: Answer): Fidelity | NotMeasured {
  const { fidelity } = answer;
  if (!isRecord(fidelity)) return missing(fidelity, answer);
  const { ratio, wrong, mustAgree, passed, ours, transformersBf16 } = fidelity;
  const good = [ratio, wrong, mustAgree].every((value) => typeof value === "number");
  if (!good) return notMeasured("beside.py printed no ratio");
  return {
    ratio: Number(ratio), wrong: Number(wrong), mustAgree: Number(mustAgree),
    passed: passed === true,
    ...(typeof ours === "number" ? { error: ours } : {}),
    ...(typeof transformersBf16 === "number" ? { bf16Error: transformersBf16 } : {}),
  };
}

function secondsFrom({ seconds }: Answer): Record<string, number> {
  if (!isRecord(seconds)) return {};
  return Object.fromEntries(Object.entries(seconds).flatMap(([part, value]) =>
    typeof value === "number" ? [[`torch ${part}`, value]] : []));
}

async function writeRun(
  folder: string,
  { prompt, tokens, logits }: Extract<BesideRequest["run"], { tokens: unknown }>,
): Promise<object> {
  const path = join(folder, "logits.f32");
  await writeFile(path, Buffer.concat(
    logits.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength))));
  return { prompt, tokens, logits: path };
}
