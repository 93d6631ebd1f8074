/** @file Questions to the simulator: what if one thing were otherwise? */
import { inputError } from "@mpk/runtime";
import type { Gpu, SimulationConstants } from "@mpk/schedule";
import { isPlanFile } from "../load.ts";
import type { Setting } from "./model.ts";

export interface WhatIf {
  /** As it was asked. */
  readonly name: string;
  /** In words. */
  readonly title: string;
  /** Whether it needs another plan: a saved one cannot answer it. */
  readonly replans: boolean;
  readonly change: (setting: Setting) => Setting;
}

/** SMs that a plan may have. */
const mostSms = 256;

const withCosts = (setting: Setting, costs: Partial<SimulationConstants>): Setting => ({
  ...setting, gpu: { ...setting.gpu, constants: { ...setting.gpu.constants, ...costs } },
});
const withMachine = (setting: Setting, machine: Partial<Gpu["machine"]>): Setting => ({
  ...setting, gpu: { ...setting.gpu, machine: { ...setting.gpu.machine, ...machine } },
});

/** `x2` is a factor of what there is, `12` a number. Null where it is neither. */
function amount(text: string): ((now: number) => number) | null {
  const factor = /^x(\d+(?:\.\d+)?)$/.exec(text)?.[1];
  if (factor !== undefined && Number(factor) > 0) return (now) => now * Number(factor);
  return /^[1-9]\d{0,8}$/.test(text) ? () => Number(text) : null;
}

interface Question {
  readonly form: string;
  readonly example: string;
  /** Of the simulator alone: the plan stays as it is. */
  readonly keepsPlan?: true;
  /** Null: not a value of this question. */
  ask(value: string): Pick<WhatIf, "title" | "change"> | null;
}

const whole = (value: string): number | null => /^[1-9]\d{0,4}$/.test(value) ? Number(value) : null;

const questions: Readonly<Record<string, Question>> = {
  sms: {
    form: "sms=N or sms=xF", example: "sms=x2",
    ask(value) {
      const of = amount(value);
      return of === null ? null : {
        title: `SMs ${value}, at most the ${mostSms} a plan may have; the same memory`,
        change: (s) => {
          const sms = Math.max(1, Math.min(mostSms, Math.round(of(s.gpu.machine.sms))));
          return withMachine(s, { sms });
        },
      };
    },
  },
  ring: {
    form: "ring=STAGES", example: "ring=16",
    ask(value) {
      const stages = whole(value);
      return stages === null ? null : {
        title: `a ring of ${stages} stages`,
        change: (s) => ({ ...s, plan: { ...s.plan, stages } }),
      };
    },
  },
  "in-flight": {
    form: "in-flight=CHUNKS", example: "in-flight=4",
    ask(value) {
      const maxInFlight = whole(value);
      return maxInFlight === null ? null : {
        title: `${maxInFlight} chunks in flight`,
        change: (s) => ({ ...s, plan: { ...s.plan, maxInFlight } }),
      };
    },
  },
  period: {
    form: "period=LAYERS", example: "period=2",
    ask(value) {
      const period = whole(value);
      return period === null ? null : {
        title: `bytes evened out over ${period} layers`,
        change: (s) => ({ ...s, plan: { ...s.plan, period } }),
      };
    },
  },
  folds: {
    form: "folds=1, 2 or 4", example: "folds=2",
    ask(value) {
      const folds = ([1, 2, 4] as const).find((one) => String(one) === value);
      return folds === undefined ? null : {
        title: folds === 1 ? "tiles of sixteen whole rows" : `tiles in ${folds} folds of K`,
        change: (s) => ({ ...s, plan: { ...s.plan, folds } }),
      };
    },
  },
  protocol: {
    form: "protocol=counter or protocol=flag", example: "protocol=counter",
    ask: (value) => value !== "counter" && value !== "flag" ? null : {
      title: value === "counter" ? "hand-offs by counters" : "flags in the data",
      change: (s) => ({ ...s, plan: { ...s.plan, protocol: value } }),
    },
  },
  attention: {
    form: "attention=split or attention=whole", example: "attention=split",
    ask: (value) => value !== "split" && value !== "whole" ? null : {
      title: value === "split" ? "attention over parts of the context" : "a head's attention on one SM",
      change: (s) => ({ ...s, attention: value }),
    },
  },
  bandwidth: {
    form: "bandwidth=xF", example: "bandwidth=x2",
    ask(value) {
      const of = value.startsWith("x") ? amount(value) : null;
      return of === null ? null : {
        title: `memory ${value} as fast`,
        change: (s) => withMachine(s, {
          readBytesPerSecond: of(s.gpu.machine.readBytesPerSecond),
        }),
      };
    },
  },
  "no-hand-offs": {
    form: "no-hand-offs", example: "no-hand-offs", keepsPlan: true,
    ask: (value) => value !== "" ? null : {
      title: "what is signalled is seen at once",
      change: (s) => withCosts(s, {
        handOffNanos: 0, signalNanos: 0, flagNanos: 0, handOffSpreadNanos: 0,
      }),
    },
  },
  "no-work": {
    form: "no-work", example: "no-work", keepsPlan: true,
    ask: (value) => value !== "" ? null : {
      title: "norms, sums, stores and attention take no time",
      change: (s) => withCosts(s, {
        prologueNanos: 0, epilogueNanos: 0, stateNanos: 0, activationBytesPerNano: 1e9,
        stateBytesPerNano: 1e9,
      }),
    },
  },
};

export const whatIfForms = Object.values(questions).map(({ form }) => form).join(", ");

/** A question from its text. @throws MpkError (input) with the questions there are. */
export function parseWhatIf(text: string): WhatIf {
  const [name = "", value = ""] = text.split(/=(.*)/s);
  const question = Object.hasOwn(questions, name) ? questions[name] : undefined;
  const found = question?.ask(value.trim()) ?? null;
  if (found !== null) return { name: text, replans: question?.keepsPlan !== true, ...found };
  const fix = question === undefined ? `ask ${whatIfForms}; or all` : `write ${question.form}`;
  throw inputError(`--what-if ${text}: no such question`, fix);
}

/**
 * Questions about a model; `all` stands for one of each that it can answer.
 * @throws MpkError (input) for no question, or one that a saved plan cannot answer.
 */
export function whatIfsFor(model: string, asked: readonly string[]): readonly WhatIf[] {
  const isPlanned = isPlanFile(model);
  const every = Object.values(questions).map(({ example }) => parseWhatIf(example))
    .filter(({ replans }) => !isPlanned || !replans);
  return asked.flatMap((text) => {
    if (text === "all") return every;
    const question = parseWhatIf(text);
    if (!isPlanned || !question.replans) return [question];
    throw inputError(
      `--what-if ${text}: ${model} is planned already, for its machine`,
      `give the model it was compiled from, or ask ${every.map(({ name }) => name).join(", ")}`,
    );
  });
}
