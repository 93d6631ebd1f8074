/** @file Work in processes of their own: what kills or hangs one ends no other; many kernels at once. */
import { fork, type ChildProcess } from "node:child_process";
import { availableParallelism } from "node:os";
import {
  messageOf, MpkError, runtimeError, type Environment, type ErrorCategory, type Progress,
} from "@mpk/runtime";
import type { PlanOptions } from "@mpk/schedule";
import { prebuild } from "../device.ts";
import { benchOne, compileOptionsOf, type BenchOptions, type BenchMeasured } from "./bench.ts";
import { measuredModel } from "./model.ts";
import type { BenchSetting } from "./setting.ts";

export interface ApartOptions {
  readonly env: Environment;
  /** Ends a process that takes longer. */
  readonly mostSeconds: number;
  readonly onProgress?: (progress: Progress) => void;
  readonly onStage?: (what: string) => void;
  readonly onNotice?: (notice: string) => void;
  /** The file that the process runs; default: the one that measures. */
  readonly program?: URL;
}

/** What the process is asked for. */
export type Asked =
  | { readonly what: "measure"; readonly setting: BenchSetting; readonly scratch: string | null }
  | { readonly what: "build"; readonly setting: BenchSetting; readonly plan?: PlanOptions };

/** What it says. */
export type Told =
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "text"; readonly as: "stage" | "notice"; readonly text: string }
  | { readonly kind: "done"; readonly result: BenchMeasured | null }
  | {
    readonly kind: "error"; readonly category: ErrorCategory | null; readonly message: string;
    readonly fix: string;
  };

const isSource = import.meta.url.endsWith(".ts");
const here = new URL(isSource ? "./child.ts" : "./child.js", import.meta.url);

/**
 * Measures a setting apart. @throws MpkError as `benchOne` does, and (runtime) where the process ended
 * without a result or took too long.
 */
export async function measureApart(
  setting: BenchSetting,
  options: ApartOptions,
  scratch: string | null = null,
): Promise<BenchMeasured> {
  const result = await apart({ what: "measure", setting, scratch }, options);
  if (result !== null) return result;
  throw new Error("measured without a result");
}

/** What is to be built: a setting's kernel, with a plan's choices in place of the planner's own. */
export type Build = Omit<Extract<Asked, { what: "build" }>, "what">;

/**
 * Builds kernels into the cache, as many at once as there are processors, all within `mostSeconds`.
 * @returns of each whether it is there. What fails is left to whoever opens it: that tells why.
 */
export async function buildApart(
  builds: readonly Build[],
  options: ApartOptions,
): Promise<readonly boolean[]> {
  const end = performance.now() + options.mostSeconds * 1000;
  const built = builds.map(() => false);
  let next = 0;
  const worker = async () => {
    while (next < builds.length) {
      const at = next++;
      const [build, mostSeconds] = [builds[at], (end - performance.now()) / 1000];
      if (build === undefined || mostSeconds <= 0) return;
      built[at] = await apart({ what: "build", ...build }, { ...options, mostSeconds })
        .then(() => true, () => false);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return built;
}

async function apart(asked: Asked, options: ApartOptions): Promise<BenchMeasured | null> {
  const { env, mostSeconds, onProgress, onStage, onNotice, program = here } = options;
  const execArgv = [...process.execArgv, ...(isSource ? ["--conditions=@mpk/source"] : [])];
  const child = fork(program, [], {
    env: { ...env }, execArgv, serialization: "advanced", stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let errors = "";
  child.stderr?.on("data", (text) => void (errors = (errors + String(text)).slice(-4000)));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, mostSeconds * 1000);
  const answer = new Promise<BenchMeasured | null>((resolve, reject) => {
    child.on("message", (told: Told) => {
      if (told.kind === "progress") onProgress?.(told.progress);
      else if (told.kind === "done") resolve(told.result);
      else if (told.kind === "error") reject(errorFrom(told));
      else (told.as === "stage" ? onStage : onNotice)?.(told.text);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => reject(ended(late, mostSeconds, code, signal, errors)));
    child.send(asked, (error) => (error === null ? undefined : reject(error)));
  });
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
    await gone(child);
  }
}

/** When it is gone, its memory on the GPU is free. */
async function gone(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGKILL");
  await exit;
}

function ended(
  late: boolean, mostSeconds: number, code: number | null, signal: string | null, errors: string,
): MpkError {
  if (late) {
    return runtimeError(`no result after ${mostSeconds} s: the measurement was ended`, "look at the GPU");
  }
  const last = errors.trim().split("\n").at(-1) ?? "";
  const how = signal === null ? `with code ${code}` : `by ${signal}`;
  return runtimeError(
    `the measuring process ended ${how} without a result${last === "" ? "" : `: ${last}`}`,
    "look at the system's log",
  );
}

function errorFrom({ category, message, fix }: Extract<Told, { kind: "error" }>): Error {
  return category === null ? new Error(message) : new MpkError(category, message, fix);
}

/** What the process does: the first message is its work; when who asked is gone, it ends. */
export function serve(env: Environment): void {
  const tell = (told: Told) => void process.send?.(told);
  process.on("disconnect", () => process.exit());
  process.once("message", (asked: Asked) => {
    work(asked, env, tell).then(
      (result) => tell({ kind: "done", result }),
      (error: unknown) => {
        const [category, fix] = error instanceof MpkError ? [error.category, error.fix] : [null, ""];
        tell({ kind: "error", message: messageOf(error), category, fix });
      },
    );
  });
}

async function work(
  asked: Asked,
  env: Environment,
  tell: (told: Told) => void,
): Promise<BenchMeasured | null> {
  const { setting } = asked;
  const onNotice = (text: string) => tell({ kind: "text", as: "notice", text });
  if (asked.what === "build") {
    const { plan } = asked;
    await prebuild(measuredModel(setting.model).source(compileOptionsOf(setting)), {
      ...compileOptionsOf(setting), env, ...(plan === undefined ? {} : { plan }),
    });
    return null;
  }
  const options: BenchOptions = {
    env,
    onProgress: (progress) => tell({ kind: "progress", progress }),
    onStage: (text) => tell({ kind: "text", as: "stage", text }),
    open: { onNotice },
  };
  return benchOne(setting, options, asked.scratch);
}
