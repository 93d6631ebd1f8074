/** @file Reads a saved plan, an untrusted input: every type, range and index is checked. */
import { parseProgram } from "@mpk/ir";
import type { Program } from "@mpk/ir";
import type { StreamLayout } from "./contracts.ts";
import { checkMachine } from "./machines.ts";
import type {
  EventTable, FlagTable, IdLists, Machine, Placement, Plan, RingSpec, StreamSegment, TaskTable,
} from "./plan.ts";
import { noFlags } from "./planner/flags.ts";
import { structureProblems } from "./structure.ts";

/** Text that is no saved plan. The message names the path in the JSON, expected and got. */
export class PlanFormatError extends Error {
  override readonly name = "PlanFormatError";
}

/**
 * The plan that JSON text of `savePlan` says. Well formed, but not proven: run `verify`. Throws
 * `PlanFormatError` naming what is wrong and where.
 */
export function loadPlan(text: string): Plan {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new PlanFormatError(`a saved plan is JSON text: ${(error as Error).message}`);
  }
  const root = new Reader(json, "plan");
  root.at("format").literal("mpk-plan");
  root.at("version").literal(1);
  const ranks = root.at("ranks").count();
  const plan: Plan = {
    format: "mpk-plan",
    version: 1,
    program: readProgram(root.at("program")),
    machine: readMachine(root.at("machine"), ranks),
    ranks,
    ring: readRing(root.at("ring")),
    tasks: readTasks(root.at("tasks")),
    order: readLists(root.at("order")),
    waits: readLists(root.at("waits")),
    signals: readLists(root.at("signals")),
    events: readEvents(root.at("events")),
    edgesBeforeFusion: root.at("edgesBeforeFusion").count(),
    layouts: root.at("layouts").list((entry) => entry.nullable(readLayout)),
    streams: root.at("streams").list((segments) => segments.list(readSegment)),
    placements: root.at("placements").list(readPlacement),
    scratchBytes: root.at("scratchBytes").count(),
    flags: root.at("flags").optional(readFlags) ?? noFlags,
    pageTokens: root.at("pageTokens").count(),
    pages: root.at("pages").count(),
  };
  const problems = structureProblems(plan);
  if (problems.length > 0) throw new PlanFormatError(problems.join("\n"));
  return Object.freeze(plan);
}

const mostInt32 = 2 ** 31 - 1;

/** A JSON value in few words: those from files may be large and nested deeper than a stack. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(typeof value === "string" ? value.slice(0, 60) : value) ?? "nothing";
  return typeof value === "string" && value.length > 60 ? `${text.slice(0, -1)}..."` : text;
}

/** A JSON value and its path, for messages. */
export class Reader {
  readonly #value: unknown;
  readonly #path: string;

  constructor(value: unknown, path: string) {
    this.#value = value;
    this.#path = path;
  }

  get path(): string {
    return this.#path;
  }

  fail(expected: string): never {
    throw new PlanFormatError(`${this.#path}: expected ${expected}, got ${shown(this.#value)}`);
  }

  at(key: string): Reader {
    const value = this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return this.fail("an object");
    }
    const isThere = Object.hasOwn(value, key);
    const inner = isThere ? (value as { [key: string]: unknown })[key] : undefined;
    return new Reader(inner, `${this.#path}.${key}`);
  }

  list<T>(read: (entry: Reader) => T): readonly T[] {
    if (!Array.isArray(this.#value)) return this.fail("an array");
    return this.#value.map((entry, i) => read(new Reader(entry, `${this.#path}[${i}]`)));
  }

  /** Null where the key is missing. */
  optional<T>(read: (entry: Reader) => T): T | null {
    return this.#value === undefined ? null : read(this);
  }

  nullable<T>(read: (entry: Reader) => T): T | null {
    return this.#value === null ? null : read(this);
  }

  number(): number {
    const value = this.#value;
    return typeof value === "number" && Number.isFinite(value) ? value : this.fail("a number");
  }

  numberBetween(least: number, most: number): number {
    const value = this.number();
    return value >= least && value <= most ? value : this.fail(`a number from ${least} to ${most}`);
  }

  /** A whole number of at least 0. */
  count(): number {
    const value = this.number();
    return Number.isSafeInteger(value) && value >= 0 ? value : this.fail("a whole number");
  }

  countUpTo(most: number): number {
    return this.count() <= most ? this.count() : this.fail(`at most ${most}`);
  }

  /** A count that must be that of the entries given beside it: nothing is sized by it alone. */
  countOf(entries: ArrayLike<number>): number {
    return this.count() === entries.length ? entries.length : this.fail(`${entries.length} entries`);
  }

  text(): string {
    return typeof this.#value === "string" ? this.#value : this.fail("a string");
  }

  flag(): boolean {
    return typeof this.#value === "boolean" ? this.#value : this.fail("true or false");
  }

  literal(expected: string | number): void {
    if (this.#value !== expected) this.fail(JSON.stringify(expected));
  }

  ints(): Int32Array {
    return Int32Array.from(this.#array(mostInt32, "a 32-bit whole number"));
  }

  bits(): Uint8Array {
    return Uint8Array.from(this.#array(1, "0 or 1"));
  }

  /** Long arrays: no reader per entry. */
  #array(most: number, expected: string): readonly number[] {
    if (!Array.isArray(this.#value)) return this.fail("an array");
    this.#value.forEach((entry, i) => {
      if (Number.isInteger(entry) && entry >= 0 && entry <= most) return;
      new Reader(entry, `${this.#path}[${i}]`).fail(expected);
    });
    return this.#value;
  }
}

function readProgram(from: Reader): Program {
  const text = from.list((line) => line.text()).join("\n");
  try {
    return parseProgram(text);
  } catch (error) {
    throw new PlanFormatError(`plan.program: ${(error as Error).message}`, { cause: error });
  }
}

export function readMachine(from: Reader, ranks: number): Machine {
  const machine = {
    name: from.at("name").text(),
    sms: from.at("sms").count(),
    sharedBytes: from.at("sharedBytes").count(),
    memoryBytes: from.at("memoryBytes").count(),
    readBytesPerSecond: from.at("readBytesPerSecond").number(),
    l2Bytes: from.at("l2Bytes").count(),
  };
  try {
    checkMachine({ ...machine, sms: machine.sms / ranks });
  } catch (error) {
    throw new PlanFormatError(`${from.path}: ${(error as Error).message}`, { cause: error });
  }
  return machine;
}

function readRing(from: Reader): RingSpec {
  return {
    stages: from.at("stages").count(),
    stageBytes: from.at("stageBytes").count(),
    consumerWarps: from.at("consumerWarps").count(),
    maxInFlight: from.at("maxInFlight").count(),
    activationBytes: from.at("activationBytes").count(),
    partialBytes: from.at("partialBytes").count(),
  };
}

function readTasks(from: Reader): TaskTable {
  const op = from.at("op").ints();
  return {
    count: from.at("count").countOf(op),
    op,
    sm: from.at("sm").ints(),
    tileLo: from.at("tileLo").ints(),
    tileHi: from.at("tileHi").ints(),
  };
}

function readLists(from: Reader): IdLists {
  return { start: from.at("start").ints(), items: from.at("items").ints() };
}

function readEvents(from: Reader): EventTable {
  const threshold = from.at("threshold").ints();
  return {
    count: from.at("count").countOf(threshold),
    threshold,
    homeRank: from.at("homeRank").ints(),
    crossStep: from.at("crossStep").bits(),
    manyOnly: from.at("manyOnly").optional((bits) => bits.bits()) ?? new Uint8Array(threshold.length),
  };
}

function readFlags(from: Reader): FlagTable {
  return {
    value: from.at("value").ints(),
    offsetBytes: from.at("offsetBytes").ints(),
    startBytes: from.at("startBytes").count(),
    copyBytes: from.at("copyBytes").count(),
  };
}

function readLayout(from: Reader): StreamLayout {
  from.at("format").literal("mma-a-bf16");
  return {
    format: "mma-a-bf16",
    weights: from.at("weights").list((entry) => entry.count()),
    n: from.at("n").count(),
    k: from.at("k").count(),
    blocksPerChunk: from.at("blocksPerChunk").count(),
    chunksPerTile: from.at("chunksPerTile").count(),
    chunksPerSlice: from.at("chunksPerSlice").count(),
    tilesPerGroup: from.at("tilesPerGroup").count(),
    folds: from.at("folds").optional((folds) => folds.count()) ?? 1,
  };
}

function readSegment(from: Reader): StreamSegment {
  return {
    task: from.at("task").count(),
    offsetBytes: from.at("offsetBytes").count(),
    chunks: from.at("chunks").count(),
    chunkBytes: from.at("chunkBytes").count(),
  };
}

const placementReaders = {
  scratch: (from) => ({
    kind: "scratch",
    offsetBytes: from.at("offsetBytes").count(),
    bytes: from.at("bytes").count(),
  }),
  view: (from) => ({
    kind: "view",
    of: from.at("of").count(),
    column: from.at("column").count(),
    lastRow: from.at("lastRow").flag(),
  }),
  weight: () => ({ kind: "weight" }),
  state: () => ({ kind: "state" }),
  step: () => ({ kind: "step" }),
} as const satisfies Record<Placement["kind"], (from: Reader) => Placement>;

function readPlacement(from: Reader): Placement {
  const kind = from.at("kind").text();
  if (!Object.hasOwn(placementReaders, kind)) {
    return from.at("kind").fail(Object.keys(placementReaders).join(", "));
  }
  return placementReaders[kind as Placement["kind"]](from);
}
