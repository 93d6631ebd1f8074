/** @file Text to token ids and back, from tokenizer.json; text is emitted as it becomes whole. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as HuggingFace } from "@huggingface/tokenizers";
import { z } from "zod";
import { inputError, messageOf, MpkError } from "./errors.ts";
import { withinTime } from "./guard.ts";
import { jsonLimits, readJson, want } from "./json.ts";

/** Turns ids into text while they arrive. */
export interface TextStream {
  /** The text that became certain with this id: possibly none, never half a character. */
  push(id: number): string;
  /** What is left; an unfinished character becomes U+FFFD. */
  end(): string;
}

export interface Tokenizer {
  /** Ids with the special tokens that the checkpoint's post-processor adds. */
  encode(text: string): readonly number[];
  /** Text without special tokens. */
  decode(ids: readonly number[]): string;
  stream(): TextStream;
  idOf(token: string): number | undefined;
}

const anyObject = z.record(z.string(), z.unknown(), want("an object in braces"));

/**
 * The tokenizer of a checkpoint directory, or null where it has no tokenizer.json.
 * @throws MpkError where a file is there but cannot be used.
 */
export function openTokenizer(directory: string): Tokenizer | null {
  const file = join(directory, "tokenizer.json");
  if (!existsSync(file)) return null;
  const configFile = join(directory, "tokenizer_config.json");
  const json = readJson(file, anyObject, jsonLimits.tokenizerBytes);
  const config = existsSync(configFile)
    ? readJson(configFile, anyObject, jsonLimits.configBytes)
    : {};
  return fromJson(json, config, file);
}

/** Longer than any published tokenizer takes to load, or to read the longest prompt. */
const mostSeconds = 60;

/**
 * As `openTokenizer`, from parsed files; `source` is named in errors. What takes longer than
 * `seconds` is ended: a file's regular expressions may backtrack for ever.
 */
export function fromJson(
  json: object,
  config: object,
  source = "tokenizer.json",
  seconds = mostSeconds,
): Tokenizer {
  const fix = "pass token ids (--prompt-ids) instead of text";
  const attempt = <T>(what: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (error instanceof MpkError) throw error;
      throw inputError(`${source}: ${what} failed: ${messageOf(error)}`, fix, error);
    }
  };
  const guarded = <T>(what: string, work: () => T): T =>
    attempt(what, () =>
      withinTime(work, seconds, () =>
        inputError(`${source}: ${what} took longer than ${seconds} s`, fix),
      ),
    );
  const inner = guarded("loading it", () => new HuggingFace(json, config));
  // Clean-up rewrites text that was already streamed ("do n't"), so it stays off.
  const plain = (ids: readonly number[]) =>
    inner.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  // Decoding happens for every token: it is guarded only where an expression takes part.
  const mayHang = JSON.stringify(Reflect.get(json, "decoder") ?? null).includes('"Regex"');
  const decode = (ids: readonly number[]): string => {
    if (ids.length === 0) return "";
    return (mayHang ? guarded : attempt)("decoding", () => plain(ids));
  };
  return Object.freeze({
    encode: (text: string) => Object.freeze(guarded("encoding", () => inner.encode(text).ids)),
    decode,
    stream: () => textStream(decode),
    idOf: (token: string) => inner.token_to_id(token),
  });
}

/**
 * Text of ids that arrive one by one. Each new id is decoded behind the ids of the last text that
 * came out, for decoders treat the start of a text and runs of byte tokens specially; what it adds
 * to them is held back while it ends in U+FFFD, the sign of an unfinished character.
 */
export function textStream(decode: (ids: readonly number[]) => string): TextStream {
  let window: number[] = [];
  let settled = 0;
  const added = () => {
    const before = decode(window.slice(0, settled));
    const whole = decode(window);
    return whole.startsWith(before) ? whole.slice(before.length) : decode(window.slice(settled));
  };
  const settle = () => {
    window = window.slice(settled);
    settled = window.length;
  };
  return {
    push(id) {
      window.push(id);
      const text = added();
      if (text.endsWith("\uFFFD") || text === "") return "";
      settle();
      return text;
    },
    end() {
      const text = added();
      settle();
      return text;
    },
  };
}
