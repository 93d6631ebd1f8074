/** @file A profile's accounts as text for people. Pure. */
import { partNames, parts, type Accounts, type Row } from "@mpk/compiler";

const micros = (nanos: number): string => (nanos / 1000).toFixed(2);

const isNumber = (cell: string): boolean => /^([-+]?\d[\d.]*( %)?)?$/.test(cell);

/** Columns of numbers, below whatever head, end at their right; others begin at their left. */
export function tableText(rows: readonly (readonly string[])[]): string {
  const columns = (rows[0] ?? []).map((_, i) => {
    const cells = rows.map((row) => row[i] ?? "");
    const isNumbers = i > 0 && cells.every((cell, at) => at === 0 || isNumber(cell));
    return { width: Math.max(...cells.map((cell) => cell.length)), isNumbers };
  });
  const line = (row: readonly string[]) => columns.map(({ width, isNumbers }, i) =>
    isNumbers ? (row[i] ?? "").padStart(width) : (row[i] ?? "").padEnd(width));
  return rows.map((row) => `  ${line(row).join("  ").trimEnd()}\n`).join("");
}

/** Rows of ops or layers by part; parts that took no time anywhere are left out. */
function partTable(first: string, rows: readonly Row[], all: Accounts["parts"]): string {
  const shown = partNames.filter((part) => all[part].nanos > 0);
  const head = [first, "total", "ring full", ...shown];
  const lines = rows.map(({ name, total, parts: costs }) => [
    name, micros(total.nanos), micros(total.fullNanos),
    ...shown.map((part) => micros(costs[part].nanos)),
  ]);
  return tableText([head, ...lines]);
}

/** From the floor to the step: what the memory did not read, and what was waited for meanwhile. */
function gapTable(accounts: Accounts): string {
  const full = partNames.filter((part) => accounts.parts[part].fullNanos > 0);
  const rows = [
    ["floor: the bytes at memory's best", micros(accounts.floorNanos)],
    ["reading, but below that", micros(accounts.slowNanos)],
    ...full.map((part) => [
      `ring full: ${parts[part]}`, micros(accounts.parts[part].fullNanos),
    ]),
    ["step", micros(accounts.stepNanos)],
  ];
  return tableText(rows);
}

/** Microseconds, each table adding up to the step. */
export function accountsText(accounts: Accounts): string {
  const consumers = partNames
    .filter((part) => accounts.parts[part].nanos > 0)
    .map((part) => [`${part}: ${parts[part]}`, micros(accounts.parts[part].nanos)]);
  const cut = accounts.cut
    ? "\nsome waits for a free stage did not fit the log: \"ring full\" is too small\n"
    : "";
  return (
    `\nfrom the floor to the step, µs\n${gapTable(accounts)}` +
    `\nwhat the SMs do, µs\n` +
    tableText([...consumers, ["step", micros(accounts.stepNanos)]]) +
    `\nby op, µs\n${partTable("op", accounts.byOp, accounts.parts)}` +
    `\nby layer, µs\n${partTable("layer", accounts.byLayer, accounts.parts)}${cut}`
  );
}
