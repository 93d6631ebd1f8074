/** @file The emulated memory is as weak as a GPU's, and no weaker: the usual small questions. */
import { describe, expect, test, vi } from "vitest";
import { outcomes } from "./litmus.ts";

// A busy machine may take long to compile; nothing here measures time.
vi.setConfig({ testTimeout: 300_000 });

const seeds = Array.from({ length: 8 }, (_, i) => i + 1);
const one = (text: string): string => `if (lane == 0) { ${text} }`;
const relaxedX = "store_relaxed_gpu(x, 1);";

describe("what happens on a GPU is seen", () => {
  test("two relaxed stores arrive in the other order", async () => {
    const seen = await outcomes({
      name: "message passing, relaxed",
      sms: [
        one(`${relaxedX} store_relaxed_gpu(y, 1);`),
        one("a = load_relaxed_gpu(y); b = load_relaxed_gpu(x);"),
      ],
    }, seeds);
    expect(seen).toContain("00 10");
  });

  test("two SMs both read what was there before the other's store", async () => {
    const seen = await outcomes({
      name: "store buffering",
      sms: [one(`${relaxedX} a = load_relaxed_gpu(y);`),
        one("store_relaxed_gpu(y, 1); a = load_relaxed_gpu(x);")],
    }, seeds);
    expect(seen).toContain("00 00");
  });

  test("a relaxed load after another reads what is older", async () => {
    const seen = await outcomes({
      name: "message passing, stores in order",
      sms: [
        one(`${relaxedX} add_release_gpu(y, 1);`),
        one("a = load_relaxed_gpu(y); b = load_relaxed_gpu(x);"),
      ],
    }, seeds);
    expect(seen).toContain("00 10");
  });
});

describe("what no GPU does is never seen", () => {
  test("a release passed by what comes before it", async () => {
    const seen = await outcomes({
      name: "message passing",
      sms: [
        one(`${relaxedX} add_release_gpu(y, 1);`),
        one("a = load_acquire_gpu(y); b = load_relaxed_gpu(x);"),
      ],
    }, seeds);
    expect(seen).not.toContain("00 10");
    expect(seen).toContain("00 11");
  });

  test("a thread that sees a word grow younger", async () => {
    const seen = await outcomes({
      name: "coherence",
      sms: [
        one("store_relaxed_gpu(x, 1); store_relaxed_gpu(x, 2);"),
        one("a = load_relaxed_gpu(x); b = load_relaxed_gpu(x);"),
      ],
    }, seeds);
    for (const wrong of ["00 10", "00 20", "00 21"]) expect(seen).not.toContain(wrong);
    expect(seen).toContain("00 22");
  });

  test("a store that a barrier hands to a thread, and that thread's release leaves behind",
    async () => {
      const seen = await outcomes({
        name: "cumulativity over a barrier",
        sms: [
          `${one(relaxedX)} block_barrier(); if (lane == 1) add_release_gpu(y, 1);`,
          one("a = load_acquire_gpu(y); b = load_relaxed_gpu(x);"),
        ],
      }, seeds);
      expect(seen).not.toContain("00 10");
      expect(seen).toContain("00 11");
    });

  test("a store seen by one SM, and not by the next that it tells", async () => {
    const seen = await outcomes({
      name: "write to read causality",
      sms: [
        one(relaxedX),
        one("a = load_relaxed_gpu(x); if (a) add_release_gpu(y, 1);"),
        one("a = load_acquire_gpu(y); b = load_relaxed_gpu(x);"),
      ],
    }, seeds);
    expect(seen).not.toContain("00 10 10");
    expect(seen).toContain("00 10 11");
  });
});
