/** @file What a kernel that profiles itself keeps: records, words, and whose they are. Pure. */
import type { Plan } from "@mpk/schedule";
import { idsOf } from "./encode.ts";
import {
  type ProfileLayout, ProfileMark, profileShortestClocks, profileWords, StepMark,
} from "./manifest.ts";

/** An SM's instructions follow its step's own record. */
function recordsOf(plan: Plan): number {
  const counts = Array.from({ length: plan.machine.sms }, (_, sm) => idsOf(plan.order, sm).length);
  return 1 + Math.max(0, ...counts);
}

/** Constants of the device code. */
export function profileConstants(plan: Plan): readonly { name: string; value: number }[] {
  const named = (prefix: string, words: Readonly<Record<string, number>>) =>
    Object.entries(words).map(([word, value]) => ({
      name: `${prefix}${word.charAt(0).toUpperCase()}${word.slice(1)}`,
      value,
    }));
  return [
    { name: "kProfileSms", value: plan.machine.sms },
    { name: "kProfileRecords", value: recordsOf(plan) },
    { name: "kProfileWords", value: profileWords },
    { name: "kProfileShortestClocks", value: profileShortestClocks },
    ...named("kMark", ProfileMark),
    ...named("kStepMark", StepMark),
  ];
}

/** Whose records they are. */
export function profileLayout(plan: Plan): ProfileLayout {
  const bytes = new Map<number, number>();
  for (const { task, chunks, chunkBytes } of plan.streams.flat()) {
    bytes.set(task, (bytes.get(task) ?? 0) + chunks * chunkBytes);
  }
  const { op, tileLo, tileHi } = plan.tasks;
  const tasks = Array.from({ length: plan.machine.sms }, (_, sm) =>
    Array.from(idsOf(plan.order, sm)).flatMap((task) => [
      op[task] ?? 0, tileLo[task] ?? 0, tileHi[task] ?? 0, bytes.get(task) ?? 0,
    ]),
  );
  return { records: recordsOf(plan), tasks };
}
