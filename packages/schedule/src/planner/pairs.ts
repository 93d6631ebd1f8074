/** @file Chooses the ops whose tiles share what they read in pairs. Pure. */
import { takesTurns } from "../packing.ts";
import type { RingSpec } from "../plan.ts";
import { chooseClasses, inPairs } from "./nodes.ts";
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
  return chooseClasses(nodes, (cls) => paired(cls, ring, sms));
}
