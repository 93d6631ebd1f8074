/** @file Finds the model in what a user names: a Program, config.json, checkpoint or .ts file. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { verifyProgram, type Program } from "@mpk/ir";
import { buildModel, ConfigError, readConfig, type ModelLimits } from "@mpk/models";
import { semanticsTable } from "@mpk/ops";
import { inputError, messageOf } from "@mpk/runtime";

/** A Program, or a path to a checkpoint folder, a config.json or a module that exports one. */
export type ModelSource = Program | string;

export interface LoadedModel {
  readonly program: Program;
  /** The checkpoint's folder, where there is one. */
  readonly checkpoint: string | null;
  /** Tokens that end a text, as the checkpoint says. */
  readonly eosIds: readonly number[];
  /** For messages. */
  readonly origin: string;
}

const modulePattern = /\.[cm]?[jt]s$/;

/**
 * The model that `source` names. `limits` apply where the model is built here: a Program, and a
 * module that exports one, state their own.
 * @throws MpkError (input) naming the file and field at fault.
 */
export async function loadModel(source: ModelSource, limits: ModelLimits): Promise<LoadedModel> {
  if (typeof source !== "string") {
    return { program: source, checkpoint: null, eosIds: [], origin: source.name };
  }
  if (!existsSync(source)) {
    throw inputError(
      `${source}: no such file or directory`,
      "name a checkpoint folder, a config.json or a model.ts",
    );
  }
  if (statSync(source).isDirectory()) return fromCheckpoint(source, limits);
  if (modulePattern.test(source)) return fromModule(source, limits);
  return fromConfig(source, limits);
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
  const eosIds = generationEos(join(folder, "generation_config.json")) ?? loaded.eosIds;
  return { ...loaded, checkpoint: folder, eosIds };
}

function parseJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw inputError(`${path}: ${messageOf(error)}`, "the file must hold JSON", error);
  }
}

function fromConfig(path: string, limits: ModelLimits): LoadedModel {
  const json = parseJson(path);
  try {
    const config = readConfig(json);
    const program = buildModel(config, limits);
    return { program, checkpoint: null, eosIds: config.eosTokenIds, origin: path };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const text = error.message.replace(/^config\.json: /, "");
    const [problem, ...fixes] = text.split("; ");
    const fix = fixes.join("; ") || "correct the field";
    throw inputError(`${path}: ${problem ?? text}`, fix, error);
  }
}

/** generation_config.json says more than config.json, as in Hugging Face's generate(). */
function generationEos(path: string): readonly number[] | null {
  if (!existsSync(path)) return null;
  const json = parseJson(path);
  if (typeof json !== "object" || json === null || !("eos_token_id" in json)) return null;
  const ids = [json.eos_token_id].flat();
  const whole = ids.filter((id): id is number => Number.isInteger(id) && Number(id) >= 0);
  if (whole.length === ids.length) return whole;
  throw inputError(
    `${path}: eos_token_id is ${JSON.stringify(json.eos_token_id)}`,
    "give a token id or a list of them",
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
  return { program, checkpoint: null, eosIds: [], origin: path };
}

async function importModule(path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (error) {
    const untyped = error instanceof Error && "code" in error &&
      error.code === "ERR_UNKNOWN_FILE_EXTENSION";
    const fix = untyped
      ? "use Node 22.18 or newer, which runs TypeScript, or compile the model to JavaScript"
      : `correct ${basename(path)}`;
    throw inputError(`${path}: ${messageOf(error)}`, fix, error);
  }
}

function isProgram(value: unknown): value is Program {
  if (typeof value !== "object" || value === null) return false;
  const lists = ["values", "weights", "states", "ops"].map((key) => Reflect.get(value, key));
  return lists.every(Array.isArray) && typeof Reflect.get(value, "limits") === "object";
}
