/** @file The repository's Python script: PyTorch beside us and the fidelity gate, if it can run. */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf, type Environment } from "@mpk/runtime";
import { notMeasured, type Fidelity, type NotMeasured, type TorchBaseline } from "./result.ts";

/** The scripts lie in the repository, not in the package. */
const scripts = fileURLToPath(new URL("../../../../bench/", import.meta.url));

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
  /** It was ended for want of time: what is missing may be had with more. */
  readonly late: boolean;
}

type Answer = Readonly<Record<string, unknown>>;

/**
 * Asks the script, which prints each part of the answer as soon as it is known. Never throws: what is
 * missing says why.
 */
export async function askBeside(
  request: object,
  { command, folder }: Python,
  env: Environment,
  mostSeconds: number,
): Promise<Beside> {
  // Several run at once, each with compilers of its own.
  const own = { TORCHINDUCTOR_COMPILE_THREADS: "4", ...env };
  const child = spawn(command, [join(folder, "beside.py")], { env: own });
  const [out, err]: [string[], string[]] = [[], []];
  child.stdout.on("data", (text) => void out.push(String(text)));
  child.stderr.on("data", (text) => void err.push(String(text)));
  // It may be gone when it is written to: its exit tells why.
  child.stdin.on("error", () => undefined);
  child.stdin.end(`${JSON.stringify(request)}\n`);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, mostSeconds * 1000);
  const answer = await new Promise<Answer>((resolve) => {
    child.on("error", (error) => resolve({ failed: messageOf(error) }));
    child.on("close", (code, signal) => resolve(
      answerFrom(out.join(""), signal === null ? lastLine(err.join("")) : `ended by ${signal}`, code)));
  });
  clearTimeout(timer);
  const [torch, fidelity] = [torchFrom(answer), fidelityFrom(answer)];
  return { torch, fidelity, seconds: secondsFrom(answer), late };
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
