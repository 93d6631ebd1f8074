/** @file Lists, per SM, the weight chunks it will consume during a step, in task order. Pure. */
import type { StreamLayout } from "../contracts.ts";
import { chunkBytesOf } from "../packing.ts";
import type { StreamSegment } from "../plan.ts";
import type { Assigned } from "./assign.ts";

export function planStreams(
  { tasks, order }: Assigned,
  layouts: readonly (StreamLayout | null)[],
  sms: number,
): readonly (readonly StreamSegment[])[] {
  return Array.from({ length: sms }, (_, sm) => {
    const segments: StreamSegment[] = [];
    let offsetBytes = 0;
    for (const task of order.items.subarray(order.start[sm], order.start[sm + 1])) {
      const layout = layouts[tasks.op[task] ?? -1] ?? null;
      if (layout === null) continue;
      const tiles = (tasks.tileHi[task] ?? 0) - (tasks.tileLo[task] ?? 0);
      const chunks = tiles * layout.chunksPerTile;
      const chunkBytes = chunkBytesOf(layout);
      segments.push({ task, offsetBytes, chunks, chunkBytes });
      offsetBytes += chunks * chunkBytes;
    }
    return segments;
  });
}
