/** @file The repository's Python scripts: PyTorch beside us and the fidelity gate, if they can run. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf, type Environment } from "@mpk/runtime";
import { notMeasured, type Fidelity, type NotMeasured, type TorchBaseline } from "./result.ts";
import { isMeasured } from "./result.ts";

/** The scripts lie in the repository, not in the package. */
const scripts = fileURLToPath(new URL("../../../../bench/", import.meta.url));
/** An 8B model's checkpoint is made, loaded and run in less. */
const longestMillis = 20 * 60_000;

export interface Python {
  readonly command: string;
  readonly folder: string;
}

/** Python with all that the scripts need, or exactly what is missing. */
export async function findPython(
  env: Environment,
  folder = scripts,
): Promise<Python | NotMeasured> {
  if (!existsSync(join(folder, "torch_baseline.py"))) {
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
    const options = { env: { ...env }, maxBuffer: 2 ** 26, timeout: longestMillis };
    return (await promisify(execFile)(command, [...args], options)).stdout;
  } catch (error) {
    const stdout = error instanceof Error && "stdout" in error ? String(error.stdout) : "";
    // A gate that fails exits with 1 and still says what it found.
    if (/^\{/m.test(stdout)) return stdout;
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

const lastLine = (text: string): string =>
  text.trim().split("\n").findLast((line) => line.trim() !== "")?.trim() ?? "no output";

/** The JSON object that a script prints last. */
async function script(
  python: Python,
  args: readonly string[],
  env: Environment,
): Promise<Record<string, unknown> | NotMeasured> {
  const [name = "", ...rest] = args;
  const told = await run(python.command, [join(python.folder, name), ...rest], env);
  if (told instanceof Error) return notMeasured(`${name} failed: ${lastLine(told.message)}`);
  const line = told.split("\n").findLast((each) => each.startsWith("{"));
  if (line === undefined) return notMeasured(`${name} printed no result`);
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return notMeasured(`${name} printed ${line.slice(0, 100)}`);
  }
}

export interface Beside {
  readonly torch: TorchBaseline | NotMeasured;
  readonly fidelity: Fidelity | NotMeasured;
}

export interface BesideRequest {
  /** Contents of the config.json. */
  readonly config: unknown;
  /** Folder with weights; null: those of `seed` are made. */
  readonly checkpoint: string | null;
  readonly seed: bigint;
  readonly context: number;
  readonly wantsTorch: boolean;
  /** A launch of ours from an empty cache, teacher-forced there; null: there is none. */
  readonly run: {
    readonly prompt: readonly number[];
    readonly tokens: readonly number[];
    readonly logits: readonly Float32Array[];
  } | null;
  readonly onStage?: (what: string) => void;
}

const randomRows = notMeasured("the cache's rows are random, so no prompt leads to these logits");

/** Runs what was asked for on the same weights. Never throws: what fails says why. */
export async function measureBeside(request: BesideRequest, env: Environment): Promise<Beside> {
  const noTorch = notMeasured("not asked for: add --baseline torch");
  if (!request.wantsTorch) return { torch: noTorch, fidelity: noTorch };
  const python = await findPython(env);
  if (!isMeasured(python)) return { torch: python, fidelity: python };
  const scratch = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const folder = await mkdtemp(join(scratch, "mpk-bench-"));
  try {
    const checkpoint = await checkpointIn(folder, request, python, env);
    if (typeof checkpoint !== "string") return { torch: checkpoint, fidelity: checkpoint };
    request.onStage?.("fidelity against transformers");
    const fidelity = await fidelityOf(folder, checkpoint, request, python, env);
    request.onStage?.("PyTorch in one CUDA graph");
    const torch = await torchOf(checkpoint, request.context, python, env);
    return { torch, fidelity };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkpointIn(
  folder: string,
  { checkpoint, config, seed, onStage }: BesideRequest,
  python: Python,
  env: Environment,
): Promise<string | NotMeasured> {
  if (checkpoint !== null) return checkpoint;
  onStage?.("writing the same weights for PyTorch");
  const path = join(folder, "config.json");
  await writeFile(path, JSON.stringify(config));
  const out = join(folder, "checkpoint");
  const args = [join(python.folder, "make_random.py"), path, out, "--seed", `${seed}`];
  const told = await run(python.command, args, env);
  if (!(told instanceof Error)) return out;
  return notMeasured(`make_random.py failed: ${lastLine(told.message)}`);
}

async function fidelityOf(
  folder: string,
  checkpoint: string,
  { run: ours }: BesideRequest,
  python: Python,
  env: Environment,
): Promise<Fidelity | NotMeasured> {
  if (ours === null) return randomRows;
  const prefix = join(folder, "run");
  const rows = ours.logits.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength));
  await writeFile(`${prefix}.f32`, Buffer.concat(rows));
  await writeFile(`${prefix}.json`, JSON.stringify({ prompt: ours.prompt, tokens: ours.tokens }));
  const args = ["fidelity.py", checkpoint, `${prefix}.json`, `${prefix}.f32`];
  const found = await script(python, args, env);
  if ("notMeasured" in found) return notMeasured(String(found["notMeasured"]));
  const { ratio, wrong, mustAgree, passed } = found;
  const good = [ratio, wrong, mustAgree].every((value) => typeof value === "number");
  if (!good) return notMeasured("fidelity.py printed no ratio");
  return {
    ratio: Number(ratio), wrong: Number(wrong), mustAgree: Number(mustAgree),
    passed: passed === true,
  };
}

async function torchOf(
  checkpoint: string,
  context: number,
  python: Python,
  env: Environment,
): Promise<TorchBaseline | NotMeasured> {
  const slots = `${Math.ceil((context + 256) / 64) * 64}`;
  const args = ["torch_baseline.py", checkpoint, "--context", `${context}`, "--slots", slots];
  const found = await script(python, args, env);
  if ("notMeasured" in found) return notMeasured(String(found["notMeasured"]));
  const { msPerToken, torch } = found;
  if (typeof msPerToken !== "number") return notMeasured("torch_baseline.py printed no time");
  return { msPerToken, torch: String(torch) };
}
