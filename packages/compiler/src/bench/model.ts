/** @file What is to be measured: a checkpoint, a config.json, or a public shape by its name. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { buildModel, readConfig, type ModelConfig, type ModelLimits } from "@mpk/models";
import { inputError, jsonLimits, messageOf, MpkError, readJsonFile } from "@mpk/runtime";
import type { ModelSource } from "../load.ts";
import { noSuchModel, shapeNamed } from "../shape.ts";

export interface MeasuredModel {
  /** As people write it. */
  readonly title: string;
  readonly config: ModelConfig;
  /** Contents of the config.json. */
  readonly json: unknown;
  /** Folder with weights; null: they are made at random. */
  readonly checkpoint: string | null;
  /** What to compile and open, for these limits. */
  source(limits: ModelLimits): ModelSource;
}

/**
 * What `mpk bench` times: a public shape by name or a config.json, both with random weights, or a
 * checkpoint.
 * @throws MpkError (input) naming the file, with the shapes that are known by name.
 */
export function measuredModel(name: string): MeasuredModel {
  const known = shapeNamed(name);
  if (known !== undefined) return fromConfig(known.title, known.config, null);
  if (!existsSync(name)) throw noSuchModel(name, "a checkpoint folder, a config.json");
  const folder = statSync(name).isDirectory();
  const path = folder ? join(name, "config.json") : name;
  const title = name.replace(/\/+$/, "").replace(/\/config\.json$/, "").split("/").at(-1) ?? name;
  try {
    return fromConfig(title, readJsonFile(path, jsonLimits.configBytes), folder ? name : null);
  } catch (error) {
    if (error instanceof MpkError) throw error;
    const text = messageOf(error).replace(/^config\.json: /, "");
    throw inputError(`${path}: ${text}`, "give a Hugging Face config.json", error);
  }
}

function fromConfig(title: string, json: unknown, checkpoint: string | null): MeasuredModel {
  const config = readConfig(json);
  return {
    title, config, json, checkpoint,
    source: (limits) => checkpoint ?? buildModel(config, limits),
  };
}
