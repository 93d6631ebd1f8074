/** @file Whether a profile is one of a plan. Pure. */
import { inputError, type Profile } from "@mpk/runtime";
import type { Plan } from "@mpk/schedule";

/**
 * Returns where a profile is of this plan; `who` is its file, for the message.
 * @throws MpkError (input) naming the first place where the profile is another plan's.
 */
export function requireSamePlan(plan: Plan, profile: Profile, who: string): void {
  const fix = "give the model that was profiled, with the options it was profiled with";
  const refuse = (what: string): never => {
    throw inputError(`${who}: is of another model or plan: ${what}`, fix);
  };
  const { order, tasks, program, machine } = plan;
  for (const { step, sms } of profile.steps) {
    const lengths = Array.from({ length: machine.sms }, (_, sm) =>
      (order.start[sm + 1] ?? 0) - (order.start[sm] ?? 0));
    const working = lengths.filter((length) => length > 0).length;
    if (sms.length !== working) {
      refuse(`step ${step} has ${sms.length} SMs with work, the plan ${working}`);
    }
    for (const { sm, instructions } of sms) {
      const expected = lengths[sm] ?? 0;
      if (instructions.length !== expected) {
        refuse(`SM ${sm} has ${instructions.length} instructions, in the plan ${expected}`);
      }
      instructions.forEach((one, i) => {
        const task = order.items[(order.start[sm] ?? 0) + i] ?? -1;
        const op = program.ops[tasks.op[task] ?? -1];
        const tiles = [tasks.tileLo[task] ?? -1, tasks.tileHi[task] ?? -1];
        if (one.instruction === i && one.sm === sm && one.kind === op?.kind &&
          one.scope === op.scope && one.tileLo === tiles[0] && one.tileHi === tiles[1]) return;
        refuse(
          `instruction ${i} of SM ${sm} is ${one.kind} ${one.scope} tiles ` +
            `${one.tileLo}..${one.tileHi}, in the plan ${op?.kind} ${op?.scope} tiles ${tiles.join("..")}`,
        );
      });
    }
  }
}
