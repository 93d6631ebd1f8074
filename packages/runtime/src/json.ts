/** @file JSON files as untrusted input, checked against a schema. */
import { readFileSync } from "node:fs";
import type { z } from "zod";
import { inputError, messageOf } from "./errors.ts";

/** Reads `path` and narrows it. @throws MpkError naming the file and the first wrong field. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw inputError(`${path}: ${messageOf(error)}`, "the file must exist and hold JSON", error);
  }
  const result = schema.safeParse(parsed);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  throw inputError(
    `${path}: ${field}${issue?.message ?? "malformed"}`,
    "compare the file with the one published beside the model",
  );
}
