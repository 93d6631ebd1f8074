/** @file Results as they come: each setting is measured for itself, and what is done is kept. */
import { messageOf, MpkError } from "@mpk/runtime";
import type { BenchFile, BenchResult, Failure, Origin } from "./result.ts";
import { settingText, type BenchSetting } from "./setting.ts";

export interface QueueRequest {
  readonly settings: readonly BenchSetting[];
  /** What is known so far; results of the same settings are not measured again. */
  readonly file: BenchFile;
  /** Where and of what the next result is. */
  readonly origin: Origin;
  measure(setting: BenchSetting): Promise<BenchResult>;
  /** Called with all that is known after each setting. */
  keep(file: BenchFile): void;
  /** Asked before each setting: why there is no time for it, or null. */
  stopped(): string | null;
  readonly onSkip?: (setting: BenchSetting, why: string) => void;
  readonly onResult?: (result: BenchResult) => void;
  readonly onFailure?: (failure: Failure) => void;
}

export interface Queued {
  readonly file: BenchFile;
  /** Settings that were not tried. */
  readonly left: number;
}

/** Whether a file has a setting's whole result. */
export function isKnown(file: BenchFile, setting: BenchSetting): boolean {
  const key = settingText(setting);
  return file.results.some((one) => one.setting === key && one.pending !== true);
}

/** Measures what is not known yet, one after the other; a failure ends no other. Faults of ours do. */
export async function measureAll(request: QueueRequest): Promise<Queued> {
  const { measure, keep, stopped, origin, onSkip, onResult, onFailure } = request;
  let { file } = request;
  let left = 0;
  for (const setting of request.settings) {
    const key = settingText(setting);
    if (isKnown(file, setting)) {
      onSkip?.(setting, "measured before");
      continue;
    }
    const why = stopped();
    if (why !== null) {
      onSkip?.(setting, why);
      left++;
      continue;
    }
    try {
      const result = { ...(await measure(setting)), setting: key, origin };
      file = withResult(file, result);
      keep(file);
      onResult?.(result);
    } catch (error) {
      if (!(error instanceof MpkError)) throw error;
      const failure = { model: setting.model, setting: key, error: messageOf(error) };
      file = withFailure(file, failure);
      keep(file);
      onFailure?.(failure);
    }
  }
  return { file, left };
}

/** In place of one of the same setting, else at the end. */
export function withResult(file: BenchFile, result: BenchResult): BenchFile {
  const key = result.setting;
  const at = file.results.findIndex((one) => key !== undefined && one.setting === key);
  const results = at < 0 ? [...file.results, result] : file.results.with(at, result);
  const failures = (file.failures ?? []).filter(({ setting }) => setting !== key);
  return { ...file, results, failures };
}

function withFailure(file: BenchFile, failure: Failure): BenchFile {
  const others = (file.failures ?? []).filter(({ setting }) => setting !== failure.setting);
  return { ...file, failures: [...others, failure] };
}

const nameOf = { machine: "machine", gpu: "GPU", commit: "commit", sources: "sources" } as const;

/**
 * What two origins differ in, as a sentence; null: nothing. Unknown is not the same as known: what
 * cannot be told apart is not taken for equal. The GPU's own number counts only where it is asked for:
 * machines of one kind differ by a percent or two, which is told, not refused.
 */
export function differenceOf(a: Origin, b: Origin, which: readonly (keyof Origin)[]): string | null {
  const field = which.find((each) => a[each] !== b[each]);
  if (field === undefined) return null;
  return `${nameOf[field]} ${a[field] ?? "unknown"} and ${nameOf[field]} ${b[field] ?? "unknown"}`;
}

/** Of a result, as far as it or its file tells. */
export const originOf = (file: BenchFile, result?: BenchResult): Origin =>
  result?.origin ?? { machine: file.machine, gpu: null, commit: file.commit, sources: null };

/** Whether a file may go on with results of `origin`: why not, and what is to be said if so. */
export function goesOn(
  file: BenchFile,
  origin: Origin,
  mix: boolean,
): { readonly refusal: string | null; readonly notes: readonly string[] } {
  const notes: string[] = [];
  for (const result of file.results) {
    const before = originOf(file, result);
    const other = differenceOf(before, origin, mix ? ["machine"] : ["machine", "commit", "sources"]);
    if (other !== null) return { refusal: `results of ${other} do not belong together`, notes };
    const told = differenceOf(before, origin, mix ? ["gpu", "commit"] : ["gpu"]);
    if (told !== null) notes.push(`${result.model} was measured on or of another one: ${told}`);
  }
  return { refusal: null, notes };
}
