/** @file Numbers and reports as text for people. Pure. */
import type { Report, VerifyReport } from "@mpk/compiler";

/** 1234567 → `1,234,567`. */
export const count = (value: number): string => Math.round(value).toLocaleString("en-US");

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Bytes in the largest unit that keeps at least one digit before the point. */
export function bytes(value: number): string {
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit++;
  }
  return `${unit === 0 ? scaled : scaled.toFixed(scaled < 10 ? 2 : 1)} ${units[unit]}`;
}

/** Rows as two columns. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join("");
}

/** What a compiled model costs. */
export function reportText(report: Report): string {
  const { shared, streamedBytesPerSm: perSm, streamedBytesPerStep: streamed } = report;
  const { eventsBeforeFusion: pairs } = report;
  const budget = `${count(shared.totalBytes)} of ${count(shared.availableBytes)} bytes`;
  const parts =
    `ring ${bytes(shared.ringBytes)}, activations ${bytes(shared.activationBytes)}, ` +
    `partial sums ${bytes(shared.partialBytes)}, reserve ${bytes(shared.reserveBytes)}`;
  const target = report.target === null ? "" : `, ${report.target}`;
  return (
    `${report.model} on ${report.machine} (${report.sms} SMs${target})\n` +
    columns([
      ["ops", count(report.ops)],
      ["tasks", count(report.tasks)],
      ["events", `${count(pairs)} before fusion, ${count(report.events)} after`],
      ["hand-offs per step", count(report.handOffsPerStep)],
      ["streamed per step", `${bytes(streamed)} (${count(streamed)} bytes)`],
      ["streamed per SM", `${bytes(perSm.min)} to ${bytes(perSm.max)}, mean ${bytes(perSm.mean)}`],
      ["bandwidth floor", `${report.floorMicros.toFixed(1)} µs per step`],
      ["shared memory", `${budget}: ${parts}`],
      ["registers", `at most ${report.registerBudget} per thread`],
      ["resident weights", bytes(report.residentBytes)],
      ["KV cache", `${bytes(report.kvBytes)} for ${count(report.maxContext)} tokens`],
      ["scratch", bytes(report.scratchBytes)],
      ...(Object.keys(report.millis).length === 0 ? [] : [["time", times(report.millis)] as const]),
    ])
  );
}

const times = (millis: Readonly<Record<string, number>>): string =>
  Object.entries(millis).map(([stage, ms]) => `${stage} ${ms.toFixed(0)} ms`).join(", ");

/** Each law with what was checked; where one is broken, the smallest schedule that shows it. */
export function verificationText(report: VerifyReport): string {
  const lines = report.laws.map((law) => {
    const checked = Object.entries(law.checked).map(([what, n]) => `${count(n)} ${what}`);
    const state = law.violations.length === 0 ? "holds   " : "VIOLATED";
    return `law ${law.law}  ${state}  ${law.name.padEnd(8)}  ${checked.join(", ")}\n`;
  });
  const broken = report.laws.flatMap((law) => law.violations);
  const [smallest] = [...broken].sort(
    (a, b) => a.smallest.split("\n").length - b.smallest.split("\n").length,
  );
  const told = broken.map((violation) => `\n${violation.law}: ${violation.message}\n`);
  const schedule = smallest === undefined || smallest.smallest === ""
    ? ""
    : `\nsmallest violating schedule:\n${smallest.smallest.replaceAll(/^/gm, "  ")}\n`;
  return `${lines.join("")}${told.slice(0, 5).join("")}${schedule}`;
}
