/** @file The emulator has every name of machine.cuh: a new one is added to both. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { emulatorFiles } from "../src/index.ts";

/** Functions that a header defines, and macros of ours. */
function namesOf(text: string, definition: RegExp): ReadonlySet<string> {
  const functions = [...text.matchAll(definition)].map(([, name = ""]) => name);
  const macros = [...text.matchAll(/^#define (MPK_\w+)/gm)].map(([, name = ""]) => name);
  return new Set([...functions, ...macros]);
}

test("machine_host.hpp has every name of machine.cuh", () => {
  const machine = readFileSync(new URL("../src/device/machine.cuh", import.meta.url), "utf8");
  const host = emulatorFiles().find(({ name }) => name === "machine_host.hpp")?.text ?? "";
  const common = machine.slice(machine.indexOf("#endif\n#endif"), machine.indexOf("typedef"));
  const wanted = namesOf(machine.replace(common, ""), /^(?:template <[^>]*> )?MPK_DEVICE \w+ (\w+)\(/gm);
  const found = namesOf(host, /^(?:template <[^>]*> )?inline \w+ (\w+)\(/gm);
  expect(wanted.size).toBeGreaterThan(60);
  // MPK_ARCH follows from MPK_HOST; shared-memory addresses are of PTX alone.
  const own = new Set(["MPK_ARCH", "shared_address"]);
  const missing = [...wanted].filter((name) => !own.has(name) && !found.has(name));
  expect(missing, "add them to packages/cuda/src/emulator/machine_host.hpp").toEqual([]);
});

test("the emulator's files say what they are for", () => {
  for (const { name, text } of emulatorFiles()) expect(text, name).toMatch(/^\/\/ \w/);
});
