/** @file A kernel's own profile: an option that leaves no trace in the source when it is off. */
import { readdirSync, readFileSync } from "node:fs";
import { plan, virtual } from "@mpk/schedule";
import { scheduleTable } from "@mpk/ops";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deviceText } from "../src/emit.ts";
import {
  kernelParams, ProfileMark, profiledParams, profileWords, StepMark,
} from "../src/index.ts";
import { decoderPlans, emitReal } from "./emitted/decoders.ts";
import { everyOp } from "./emitted/programs.ts";
import { tasksOf } from "./emitted/source.ts";

const folder = new URL("../src/device/", import.meta.url);
const headers = readdirSync(folder).filter((name) => name.endsWith(".cuh"));
const raw = (name: string): string => readFileSync(new URL(name, folder), "utf8");

describe("without it", () => {
  test("a device file is its text without the marked lines, byte for byte", () => {
    const marked = headers.filter((name) => raw(name).includes("  //profile: "));
    // Other files that run tasks have marks of their own.
    expect(marked).toEqual(expect.arrayContaining(["core.cuh", "decode.cuh", "linear.cuh"]));
    for (const name of headers) {
      // Comments have a blank before their first word, marks have none; one that emit.ts does not know stays.
      const isMarked = (line: string): boolean => /^ *\/\/[a-z]+: /.test(line);
      const lines = raw(name).split("\n").filter((line) => !isMarked(line));
      expect(deviceText(name)).toBe(lines.join("\n"));
    }
  });

  test("nothing of it is in the source or the Manifest", () => {
    fc.assert(
      fc.property(decoderPlans, (made) => {
        const { source, manifest } = emitReal(made);
        expect(source).not.toMatch(/profile|kMark|kStepMark|ChunkWait|marks|clocks|log_full/i);
        expect(manifest.profile).toBeUndefined();
        expect(manifest.params).toEqual(kernelParams);
      }),
      { numRuns: 20 },
    );
  });
});

describe("with it", () => {
  test("only lines are added, and each SM's instructions are listed as the kernel walks them", () => {
    fc.assert(
      fc.property(decoderPlans, (made) => {
        const [off, on] = [emitReal(made), emitReal(made, "sm_90a", true)];
        const lines = on.source.split("\n");
        let at = 0;
        for (const line of off.source.split("\n")) {
          const found = lines.indexOf(line, at);
          expect(found, line).toBeGreaterThanOrEqual(at);
          at = found + 1;
        }
        const layout = on.manifest.profile!;
        const walked = [...tasksOf(on.source)];
        expect(layout.tasks.map((list) => list.length / 4)).toEqual(walked.map((l) => l.length));
        expect(layout.records).toBe(1 + Math.max(...walked.map((list) => list.length)));
        let bytes = 0;
        walked.forEach((list, sm) => list.forEach(({ op, tileLo, tileHi }, i) => {
          const [o, lo, hi, streamed = 0] = layout.tasks[sm]!.slice(4 * i, 4 * i + 4);
          expect([o, lo, hi]).toEqual([op, tileLo, tileHi]);
          bytes += streamed;
        }));
        expect(bytes).toBe(made.streams.flat().reduce((n, s) => n + s.chunks * s.chunkBytes, 0));
      }),
      { numRuns: 20 },
    );
  });

  test("every mark is made somewhere, and the parameters only grow", () => {
    const made = plan(everyOp(), scheduleTable, virtual(3), { protocol: "flag" });
    const { source, manifest } = emitReal(made, "sm_90a", true);
    for (const [prefix, words] of [["kMark", ProfileMark], ["kStepMark", StepMark]] as const) {
      for (const mark of Object.keys(words)) {
        const name = `${prefix}${mark.charAt(0).toUpperCase()}${mark.slice(1)}`;
        expect(source.split(new RegExp(`${name}\\b`)).length - 1, name).toBeGreaterThanOrEqual(2);
      }
    }
    expect(Math.max(...Object.values(ProfileMark))).toBeLessThan(profileWords);
    // A time of all SMs takes two words.
    expect(Math.max(...Object.values(StepMark)) + 1).toBeLessThan(profileWords);
    expect(source).not.toContain("//profile:");
    const { fields } = profiledParams;
    expect(fields.slice(0, kernelParams.fields.length)).toEqual(kernelParams.fields);
    expect(manifest.params).toEqual(profiledParams);
  });
});
