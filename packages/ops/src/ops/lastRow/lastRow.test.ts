/** @file lastRow, by example. */
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

it("takes the last token's row, and is idempotent", () => {
  const lastRow = opOf("lastRow", {});
  const row = lastRow.run([f32(["T", 2], [1, 2, 3, 4])]);
  expect(row.type).toEqual(typed("f32", 1, 2));
  expect(values(row)).toEqual([3, 4]);
  expect(lastRow.run([row])).toEqual(row);
});
