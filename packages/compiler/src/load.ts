/** @file Finds the model in what a user names: a Program, shape, config.json, checkpoint or .ts file. */
import { closeSync, existsSync, readSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { verifyProgram, type Program } from "@mpk/ir";
import { buildModel, ConfigError, readConfig, shown, type ModelLimits } from "@mpk/models";
import { semanticsTable } from "@mpk/ops";
import { inputError, jsonLimits, messageOf, openRegular, readJsonFile } from "@mpk/runtime";
import { noSuchModel, shapeNamed } from "./shape.ts";

/**
 * A Program, or a path to a checkpoint folder, a config.json or a module that exports one; or a
 * public shape by its name (`knownShapes()`), where there is no such file.
 */
export type ModelSource = Program | string;

export interface LoadedModel {
  readonly program: Program;
  /** The checkpoint's folder, where there is one. */
  readonly checkpoint: string | null;
  /** Tokens that end a text, as the checkpoint says. */
  readonly eosIds: readonly number[];
  /** For messages. */
  readonly origin: string;
  /** What the files say that has no effect, as sentences for the user. */
  readonly warnings: readonly string[];
}

const modulePattern = /\.[cm]?[jt]s$/;

/**
 * The model that `source` names. `limits` apply where the model is built here: a Program, and a
 * module that exports one, state their own.
 * @throws MpkError (input) naming the file and field at fault.
 */
export async function loadModel(source: ModelSource, limits: ModelLimits): Promise<LoadedModel> {
  if (typeof source !== "string") {
    return { program: source, checkpoint: null, eosIds: [], origin: source.name, warnings: [] };
  }
  if (!existsSync(source)) return fromShape(source, limits);
  if (statSync(source).isDirectory()) return fromCheckpoint(source, limits);
  if (modulePattern.test(source)) return fromModule(source, limits);
  if (isPlanFile(source)) {
    throw inputError(
      `${source} is a saved plan, not a model`,
      "name the checkpoint folder, config.json or model.ts that it was made from; " +
        "`mpk verify` and `mpk inspect` take saved plans",
    );
  }
  return fromConfig(source, limits);
}

function fromShape(name: string, limits: ModelLimits): LoadedModel {
  const shape = shapeNamed(name);
  if (shape === undefined) throw noSuchModel(name, "a checkpoint folder, a config.json, a model.ts");
  const config = readConfig(shape.config);
  const program = buildModel(config, limits);
  return { program, checkpoint: null, eosIds: config.eosTokenIds, origin: name, warnings: [] };
}

function fromCheckpoint(folder: string, limits: ModelLimits): LoadedModel {
  const config = join(folder, "config.json");
  if (!existsSync(config)) {
    throw inputError(
      `${folder}: config.json is missing`,
      "point to a Hugging Face checkpoint folder, as save_pretrained writes it",
    );
  }
  const loaded = fromConfig(config, limits);
  const generation = join(folder, "generation_config.json");
  const eos = existsSync(generation)
    ? generationEos(readConfigFile(generation), generation, loaded.vocab)
    : {};
  return { ...loaded, checkpoint: folder, ...eos };
}

const planStart = /^\s*\{\s*"format"\s*:\s*"mpk-plan"/;

/** Whether a path is a saved plan: it says so in its first bytes. */
export function isPlanFile(path: string): boolean {
  if (!existsSync(path) || !statSync(path).isFile()) return false;
  const { fd } = openRegular(path);
  try {
    const head = Buffer.alloc(64);
    return planStart.test(head.toString("utf8", 0, readSync(fd, head)));
  } finally {
    closeSync(fd);
  }
}

const readConfigFile = (path: string): unknown => readJsonFile(path, jsonLimits.configBytes);

/** Ids that can come up, and a warning for those that cannot: `generate` goes on past them. */
function knownEos(path: string, given: readonly number[], vocab: number) {
  const eosIds = given.filter((id) => id >= 0 && id < vocab);
  const unknown = given.filter((id) => !eosIds.includes(id));
  const warnings = unknown.map(
    (id) =>
      `${path}: eos_token_id ${id} is outside the vocabulary 0..${vocab - 1}: it never ends a text`,
  );
  return { eosIds, warnings };
}

/** The ids that a field holds, one or a list; null where it is neither. */
function idsIn(field: unknown): readonly number[] | null {
  const ids: unknown[] = Array.isArray(field) ? field : [field];
  return ids.every((id): id is number => Number.isInteger(id)) ? ids : null;
}

function fromConfig(path: string, limits: ModelLimits): LoadedModel & { readonly vocab: number } {
  const json = readConfigFile(path);
  try {
    const config = readConfig(json);
    const program = buildModel(config, limits);
    const { vocabSize: vocab, eosTokenIds } = config;
    const given = typeof json === "object" && json !== null ? Reflect.get(json, "eos_token_id") : [];
    const { warnings } = knownEos(path, idsIn(given) ?? [], vocab);
    return { program, checkpoint: null, eosIds: eosTokenIds, origin: path, warnings, vocab };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const text = error.message.replace(/^config\.json: /, "");
    const [problem, ...fixes] = text.split("; ");
    const fix = fixes.join("; ") || "correct the field";
    throw inputError(`${path}: ${problem ?? text}`, fix, error);
  }
}

/** generation_config.json says more than config.json, as in Hugging Face's generate(). */
export function generationEos(
  json: unknown,
  path: string,
  vocab: number,
): Partial<Pick<LoadedModel, "eosIds" | "warnings">> {
  if (typeof json !== "object" || json === null || !("eos_token_id" in json)) return {};
  // Null says nothing, as if it were not there.
  if (json.eos_token_id === null) return {};
  const ids = idsIn(json.eos_token_id);
  if (ids !== null) return knownEos(path, ids, vocab);
  throw inputError(
    `${path}: eos_token_id: expected a token id or a list of them, got ${shown(json.eos_token_id)}`,
    "take the file as published with the checkpoint",
  );
}

async function fromModule(path: string, limits: ModelLimits): Promise<LoadedModel> {
  const module = await importModule(path);
  const exported = module["default"];
  const program: unknown = typeof exported === "function" ? exported(limits) : exported;
  if (!isProgram(program)) {
    throw inputError(
      `${path}: the default export is ${program === undefined ? "missing" : "not a Program"}`,
      "write `export default defineModel(...)`, or a function of the limits that returns one",
    );
  }
  const [first] = verifyProgram(program, semanticsTable);
  if (first !== undefined) {
    throw inputError(`${path}: ${first.message}`, "build the Program with defineModel");
  }
  return { program, checkpoint: null, eosIds: [], origin: path, warnings: [] };
}

async function importModule(path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (error) {
    throw inputError(`${placeIn(path, error)}: ${messageOf(error)}`, fixOf(path, error), error);
  }
}

/** What to do about a module that cannot be read or run. */
function fixOf(path: string, error: unknown): string {
  if (!(error instanceof Error)) return `correct ${basename(path)}`;
  if ("code" in error && error.code === "ERR_UNKNOWN_FILE_EXTENSION") {
    return "use Node 22.18 or newer, which runs TypeScript, or compile the model to JavaScript";
  }
  if (error instanceof SyntaxError && /outside a module|token 'export'/.test(error.message)) {
    const name = basename(path).replace(/\.c?([jt])s$/, ".m$1s");
    return `call it ${name}, or set "type": "module" in the package.json beside it`;
  }
  return `correct ${basename(path)}`;
}

/** The path, with the innermost line of it that an error's stack knows, where there is one. */
function placeIn(path: string, error: unknown): string {
  const stack = error instanceof Error ? error.stack ?? "" : "";
  const url = pathToFileURL(resolve(path)).href;
  const names = [`${url}:`, `${resolve(path)}:`];
  const line = stack.split("\n").find((one) => names.some((name) => one.includes(name)));
  const place = /:(\d+):\d+\)?$/.exec(line ?? "");
  return place === null ? path : `${path}:${place[1]}`;
}

function isProgram(value: unknown): value is Program {
  if (typeof value !== "object" || value === null) return false;
  const lists = ["values", "weights", "states", "ops"].map((key) => Reflect.get(value, key));
  return lists.every(Array.isArray) && typeof Reflect.get(value, "limits") === "object";
}
