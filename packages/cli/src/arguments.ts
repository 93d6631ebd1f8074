/** @file Parsers of option values; each names the option, what came and what is expected. */
import { InvalidArgumentError } from "commander";

const refuse = (expected: string): never => {
  throw new InvalidArgumentError(`Expected ${expected}.`);
};

/** A whole number from `least` up. */
export function wholeFrom(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    return refuse(`a whole number from ${least}`);
  };
}

/** Whole numbers from `least` up: `64,4096`. */
export function numbers(least: number): (text: string) => readonly number[] {
  const one = wholeFrom(least);
  return (text) => text.split(",").map((part) => one(part.trim()));
}

/** A finite number from `least` to `most`. */
export function numberBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    return refuse(most === Infinity ? `a number from ${least}` : `a number, ${least} to ${most}`);
  };
}

/** A seed: 64 bits. */
export function seed(text: string): bigint {
  return /^\d{1,20}$/.test(text) && BigInt(text) < 1n << 64n
    ? BigInt(text)
    : refuse("a whole number from 0, below 2^64");
}

/** Token ids: `1,2,3`. Ranges are checked against the vocabulary later. */
export function tokenIds(text: string): readonly number[] {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.some((part) => !/^-?\d+$/.test(part))) return refuse("token ids such as 1,2,3");
  return parts.map(Number);
}
