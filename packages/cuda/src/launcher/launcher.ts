/** @file A kernel's C API: header, host launcher and the model's tables as C++. Pure. */
import { readFileSync } from "node:fs";
import {
  ControlWord,
  controlWords,
  lostMillisOf,
  type Manifest,
  packParams,
  paramsAsC,
  ReportKind,
  Status,
  type TensorPart,
  watchdogNanosOf,
} from "../manifest.ts";
import { render } from "../templates.ts";

/** Files that are the same for every model. */
const fixedFiles = [
  "mpk.h", "mpk_json.hpp", "mpk_safetensors.hpp", "mpk_checkpoint.hpp", "mpk_device.hpp",
  "mpk_pack.hpp", "mpk_load.hpp", "mpk_lost.hpp", "mpk_generation.hpp", "mpk_launcher.cpp",
] as const;

const generatedFiles = ["mpk_model.h", "mpk_model.cpp", "example_main.cpp"] as const;

export type LauncherFile = (typeof fixedFiles)[number] | (typeof generatedFiles)[number];

/** Sources of one weight that the pack kernel takes. */
const maxGroups = packParams.filter((name) => name.startsWith("src")).length;

function launcherText(name: string): string {
  return readFileSync(new URL(`./${name}`, import.meta.url), "utf8");
}

/** A C string literal of any text: bytes of UTF-8, all that is not plain as octal. */
export function cString(text: string): string {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => {
    const plain = byte >= 0x20 && byte < 0x7f && !`"\\?`.includes(String.fromCharCode(byte));
    return plain ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `"${bytes.join("")}"`;
}

/** A C initializer, one row a line. Empty tables get one empty row: C++ has no empty arrays. */
function table(rows: readonly string[]): string {
  return `{\n${(rows.length === 0 ? ["{}"] : rows).map((row) => `    ${row},`).join("\n")}\n}`;
}

function wordTable(words: readonly number[]): string {
  const rows: string[] = [];
  for (let i = 0; i < words.length; i += 16) {
    rows.push(words.slice(i, i + 16).map((word) => `${word}u`).join(", "));
  }
  return table(rows);
}

function constants(): readonly { readonly name: string; readonly value: number }[] {
  const named = (prefix: string, entries: { readonly [key: string]: number }) =>
    Object.entries(entries).map(([key, value]) => ({
      name: prefix + key.charAt(0).toUpperCase() + key.slice(1),
      value,
    }));
  return [
    { name: "kControlWords", value: controlWords },
    ...named("kControl", ControlWord),
    ...named("kStatus", Status),
    ...named("kReport", ReportKind),
  ];
}

const packTypes = packParams.map((name) => {
  if (name === "dst") return "mpk::u8*";
  if (name === "tasks") return "const mpk::u32*";
  return name.startsWith("src") ? "const mpk::u16*" : "mpk::u32";
});

/** A parameter list, six a line. */
function wrapped(types: readonly string[]): string {
  const lines: string[] = [];
  for (let i = 0; i < types.length; i += 6) lines.push(types.slice(i, i + 6).join(", "));
  return `\n    ${lines.join(",\n    ")}`;
}

/** Fields of the struct Model that are one number each, in its order. */
function numbers({ launch, memory, limits }: Manifest) {
  const u32 = (name: string, value: number, comment = "") => ({
    type: "u32", name, value: `${value}u`, comment: comment === "" ? "" : `  // ${comment}`,
  });
  const u64 = (name: string, value: number | bigint) => ({
    type: "u64", name, value: `${value}ull`, comment: "",
  });
  return [
    u32("blocks", launch.blocks, "all resident at once"),
    u32("threads", launch.threads),
    u32("sharedBytes", launch.sharedBytes),
    u32("packThreads", launch.packThreads),
    u64("streamBytes", memory.streamBytes),
    u64("residentBytes", memory.residentBytes),
    u64("scratchBytes", memory.scratchBytes),
    u64("kvBytes", memory.kvBytes),
    u64("eventBytes", memory.eventBytes),
    u64("stepBytes", memory.stepBytes),
    u64("flagOffset", memory.flags?.offsetBytes ?? 0),
    u64("flagBytes", memory.flags?.bytes ?? 0),
    u32("pages", memory.pages),
    u32("maxTokens", limits.maxTokens, "prompt tokens of one step"),
    u32("maxContext", limits.maxContext),
    u32("vocab", limits.vocab),
    u64("watchdogNanos", watchdogNanosOf(limits)),
    u64("lostMillis", Math.ceil(lostMillisOf(limits, watchdogNanosOf(limits)))),
  ];
}

const elements = (parts: readonly TensorPart[]): number =>
  parts.reduce((sum, { rows, columns }) => sum + rows * columns, 0);

/** Refuses what the launcher would load wrongly. */
function checkManifest(manifest: Manifest): void {
  const fail = (why: string): never => {
    throw new RangeError(`manifest of ${manifest.model}: ${why}`);
  };
  if (!/^sm_\d+[a-z]?$/.test(manifest.target)) fail(`'${manifest.target}' is no target`);
  for (const name of Object.values(manifest.entries)) {
    if (!/^[A-Za-z_]\w*$/.test(name)) fail(`kernel name '${name}' is no C identifier`);
  }
  for (const { value, bytes, parts } of manifest.resident) {
    const found = 2 * elements(parts);
    if (found !== bytes) fail(`resident ${value} is ${bytes} bytes, its bf16 parts are ${found}`);
  }
  for (const { op, groups, n, k, tasks } of manifest.pack) {
    const who = `streamed op ${op}`;
    if (groups.length < 1 || groups.length > maxGroups) {
      fail(`${who} has ${groups.length} weights, expected 1 to ${maxGroups}`);
    }
    if (tasks.length % 4 !== 0) fail(`${who} has ${tasks.length} task words, not four a task`);
    for (const { parts } of groups) {
      if (elements(parts) !== n * k) fail(`${who} has a weight of another size than ${n} x ${k}`);
    }
  }
  const parts = [...manifest.resident, ...manifest.pack.flatMap(({ groups }) => groups)];
  for (const { tensor } of parts.flatMap((group) => group.parts)) {
    if (tensor.includes("\0")) fail(`tensor name ${JSON.stringify(tensor)} has a zero character`);
  }
}

/** All tables, the nested ones flattened with offsets into `kParts`, `kGroups` and `kTasks`. */
function tables(manifest: Manifest) {
  const parts: string[] = [];
  const groups: string[] = [];
  const tasks: number[] = [];
  const group = (of: readonly TensorPart[]): string => {
    const first = parts.length;
    for (const { tensor, rows, columns } of of) {
      parts.push(`{${cString(tensor)}, ${rows}u, ${columns}u}`);
    }
    return `{kParts + ${first}, ${of.length}u}`;
  };
  const resident = manifest.resident.map(
    (entry) => `{${entry.offsetBytes}ull, ${group(entry.parts)}}`,
  );
  const pack = manifest.pack.map((entry) => {
    const firstGroup = groups.length;
    const firstTask = tasks.length;
    groups.push(...entry.groups.map((one) => group(one.parts)));
    for (const word of entry.tasks) tasks.push(word);
    const values = { ...entry, groups: entry.groups.length };
    const numbers = packNumbers.map((name) => `${values[name]}u`).join(", ");
    return (
      `{kGroups + ${firstGroup}, ${entry.groups.length}u, {${numbers}}, ` +
      `kTasks + ${firstTask}, ${entry.tasks.length}u}`
    );
  });
  const ops = manifest.ops.map(
    ({ kind, scope, site }) => `{${[kind, scope, site].map(cString).join(", ")}}`,
  );
  return {
    parts: table(parts),
    groups: table(groups),
    tasks: wordTable(tasks),
    pack: table(pack),
    resident: table(resident),
    ops: table(ops),
  };
}

const packNumbers = [
  "groups", "n", "k", "blocksPerChunk", "chunksPerTile", "chunksPerSlice", "tilesPerGroup", "folds",
] as const satisfies readonly (typeof packParams)[number][];

/**
 * Files that, beside the emitted `kernel.cu`, make a C library which loads a checkpoint and
 * generates tokens: `mpk.h` is its API, `example_main.cpp` a program with its build command.
 * Throws `RangeError` naming the entry of a Manifest that cannot be loaded so.
 */
export function emitLauncher(manifest: Manifest): Readonly<Record<LauncherFile, string>> {
  checkManifest(manifest);
  const view = {
    ...tables(manifest),
    title: `${manifest.model.replace(/[^\w.-]/g, "_")} for ${manifest.launch.blocks} SMs`,
    name: cString(manifest.model),
    target: cString(manifest.target),
    arch: manifest.target,
    params: paramsAsC(manifest.profile !== undefined),
    paramBytes: manifest.params.bytes,
    fields: manifest.params.fields,
    constants: constants(),
    packTypes: wrapped(packTypes),
    packNumbers: packNumbers.join(", "),
    numbers: numbers(manifest),
    decodeEntry: manifest.entries.decode,
    packEntry: manifest.entries.pack,
    packCount: manifest.pack.length,
    residentCount: manifest.resident.length,
    opCount: manifest.ops.length,
  };
  const fixed = fixedFiles.map((name) => [name, launcherText(name)] as const);
  const made = generatedFiles.map(
    (name) => [name, render(launcherText(`${name}.njk`), view)] as const,
  );
  return Object.fromEntries([...fixed, ...made]) as Record<LauncherFile, string>;
}
