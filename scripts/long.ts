/** @file How long a slow test may take: its share of what the whole run has. */

/** Seconds for a file that wants `wanted`: at most one part in `parts` of MPK_LONG_SECONDS. */
export function longSeconds(wanted: number, parts = 12): number {
  const all = Number(process.env["MPK_LONG_SECONDS"] ?? "3600");
  return Math.min(wanted, Number.isFinite(all) && all > 0 ? all / parts : wanted);
}
