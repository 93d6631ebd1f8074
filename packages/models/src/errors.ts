/** @file The error for a model configuration that cannot be used. */

/** A config.json that is incomplete, contradictory or unsupported: names the field and the fix. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The offending field of config.json, such as `rope_parameters.factor`. */
  readonly field: string;

  constructor(field: string, problem: string, fix: string) {
    super(`config.json: ${field}: ${problem}; ${fix}`);
    this.field = field;
  }
}

/** A value as it stands in JSON, cut short. */
export function shown(value: unknown): string {
  // JSON has no word for a number such as 1e999, which is read as infinite.
  const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
