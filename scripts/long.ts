/** @file How long a slow test may take: its share of what the whole run has. */

/** Seconds for a test that wants `wanted`: at most a quarter of MPK_LONG_SECONDS. */
export function longSeconds(wanted: number): number {
  const all = Number(process.env["MPK_LONG_SECONDS"] ?? "3600");
  return Math.min(wanted, Number.isFinite(all) && all > 0 ? all / 4 : wanted);
}
