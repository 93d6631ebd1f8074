/**
 * @file The numbers that kernel and host agree on. Written out here, for the runtime depends on
 * types alone; the compiler refuses any that differ from the emitter's.
 */
import type {
  controlWords as emittedWords,
  ControlWord as EmittedControlWord,
  ReportKind as EmittedReportKind,
  Status as EmittedStatus,
} from "@mpk/cuda/manifest";

export const ControlWord = {
  stop: 0, produced: 1, status: 2, steps: 3, reportKind: 8, reportSm: 9, reportInstruction: 10,
  reportOp: 11, reportEvent: 12, reportExpected: 13, reportSeen: 14, reportStep: 15,
} as const satisfies typeof EmittedControlWord;

export const controlWords = 64 satisfies typeof emittedWords;

export const Status = {
  running: 0, maxNew: 1, eos: 2, stopped: 3, contextFull: 4, watchdog: 5, badToken: 6,
} as const satisfies typeof EmittedStatus;

export const ReportKind = {
  event: 1, streamFull: 2, streamEmpty: 3,
} as const satisfies typeof EmittedReportKind;
