/** @file Streaming text: the pieces make up the whole text and never split a character. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromJson } from "../src/tokenizer.ts";
import { byteFallbackTokenizer, byteLevelTokenizer } from "./build.ts";

const tokenizers = {
  "byte-level": fromJson(byteLevelTokenizer(), {}),
  "byte-fallback": fromJson(byteFallbackTokenizer(), {}),
};

const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom("a", "b", "th", " ", "\n", "é", "’", "世", "界", "👩‍👩‍👧", "ſ"),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }),
  ),
  maxLength: 20,
}).filter((s) => !s.includes("\uFFFD") && !/\p{Surrogate}/u.test(s) && !s.includes("▁"));

test.each(Object.entries(tokenizers))("%s: text goes in, pieces come out", (name, tokenizer) => {
  fc.assert(
    fc.property(text, (written) => {
      const ids = tokenizer.encode(written);
      const stream = tokenizer.stream();
      const pieces = ids.map((id) => stream.push(id));
      for (const piece of pieces) expect(piece).not.toContain("\uFFFD");
      expect(pieces.join("") + stream.end()).toBe(tokenizer.decode(ids));
      if (name === "byte-level") expect(tokenizer.decode(ids)).toBe(written);
    }),
    { numRuns: 300 },
  );
});

test("a character of several ids appears once, with its last id", () => {
  const tokenizer = tokenizers["byte-level"];
  const stream = tokenizer.stream();
  expect(tokenizer.encode("世").map((id) => stream.push(id))).toEqual(["", "", "世"]);
  expect(stream.push(0xe4)).toBe("");
  expect(stream.end()).toBe("\uFFFD");
});

test("special tokens leave no text; a broken tokenizer is named", () => {
  const tokenizer = tokenizers["byte-level"];
  expect(tokenizer.idOf("<eos>")).toBe(257);
  expect(tokenizer.stream().push(257)).toBe("");
  expect(tokenizer.decode([97, 257])).toBe("a");
  expect(() => fromJson({ model: { type: "Nope" } }, {}, "dir/tokenizer.json")).toThrow(/dir\/tok/);
});

test("an expression that backtracks for ever is ended", () => {
  const endless = {
    ...byteLevelTokenizer(),
    pre_tokenizer: { type: "Split", pattern: { Regex: "^(a+)+$" }, behavior: "Isolated" },
  };
  const tokenizer = fromJson(endless, {}, "dir/tokenizer.json", 0.2);
  expect(() => tokenizer.encode(`${"a".repeat(60)}b`)).toThrow(
    /dir\/tokenizer.json: encoding took longer than 0.2 s/,
  );
});
