/** @file Rotary embedding settings, from old (`rope_scaling`) and new (`rope_parameters`) files. */
import type { RopeScaling } from "@mpk/dsl";
import { ConfigError, shown } from "./errors.ts";
import type { RawConfig, RawRope } from "./schema.ts";

/** What a config.json says of RoPE: the base, and how frequencies are scaled. */
export interface RopeConfig {
  readonly theta: number;
  readonly scaling: RopeScaling;
}

type Factor = "factor" | "low_freq_factor" | "high_freq_factor";

function required(rope: RawRope, at: string, type: string, field: Factor): number {
  const value = rope[field];
  if (typeof value === "number") return value;
  throw new ConfigError(
    `${at}.${field}`, `is missing, and rope type ${shown(type)} needs it`, "add it",
  );
}

function scalingOf(rope: RawRope, at: string, maxPositions: number): RopeScaling {
  const type = rope.rope_type ?? rope.type ?? "default";
  switch (type) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind: "linear", factor: required(rope, at, type, "factor") };
    case "llama3":
      return llama3(rope, at, maxPositions);
    default:
      throw new ConfigError(
        `${at}.rope_type`, `${shown(type)} is not supported`, "supported: default, linear, llama3",
      );
  }
}

function llama3(rope: RawRope, at: string, maxPositions: number): RopeScaling {
  const low = required(rope, at, "llama3", "low_freq_factor");
  const high = required(rope, at, "llama3", "high_freq_factor");
  if (high <= low) {
    throw new ConfigError(
      `${at}.high_freq_factor`, `is ${high}, low_freq_factor is ${low}`,
      "it must be the larger of the two",
    );
  }
  return {
    kind: "llama3",
    factor: required(rope, at, "llama3", "factor"),
    lowFreqFactor: low,
    highFreqFactor: high,
    originalContext: rope.original_max_position_embeddings ?? maxPositions,
  };
}

/**
 * Reads the rotary settings. As in Hugging Face, `rope_scaling` wins over `rope_parameters`, and
 * a `rope_theta` inside either over the one at the top. Throws `ConfigError`.
 */
export function readRope(raw: RawConfig, defaultTheta: number, maxPositions: number): RopeConfig {
  const old = raw.rope_scaling ?? {};
  const at = Object.keys(old).length > 0 ? "rope_scaling" : "rope_parameters";
  const rope = raw[at] ?? {};
  const scaling = scalingOf(rope, at, maxPositions);
  for (const [key, value] of Object.entries(rope)) {
    if (typeof value === "object" && value !== null) {
      throw new ConfigError(
        `${at}.${key}`, "settings per layer type are not supported", "one set for all layers is",
      );
    }
  }
  const partial = rope.partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    throw new ConfigError(
      "partial_rotary_factor", `${partial} is not supported`, "only whole heads can be rotated",
    );
  }
  return {
    theta: rope.rope_theta ?? raw.rope_theta ?? defaultTheta,
    scaling,
  };
}
