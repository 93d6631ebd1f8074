/** @file Chooses the ops whose tiles share what they read in pairs. Pure. */
import { takesTurns } from "../packing.ts";
import type { RingSpec } from "../plan.ts";
import { inPairs } from "./nodes.ts";
import type { OpClass, OpNode } from "./nodes.ts";
import { layoutOf } from "./ring.ts";

/** Where some SM has two tiles of an op at least, and its packing can have them take turns. */
function paired(cls: OpClass, ring: RingSpec, sms: number): OpClass {
  if (cls.tiles <= sms) return cls;
  const other = inPairs(cls);
  const layout = layoutOf(other, ring);
  return layout !== null && takesTurns(layout) ? other : cls;
}

/** The same ops, those in pairs that can gain by it. */
export function pairOps(
  nodes: readonly OpNode[], ring: RingSpec, sms: number,
): readonly OpNode[] {
  const chosen = new Map<OpClass, OpClass>();
  return nodes.map((node) => {
    const cls = chosen.get(node.cls) ?? paired(node.cls, ring, sms);
    chosen.set(node.cls, cls);
    return cls === node.cls ? node : { ...node, cls };
  });
}
