/** @file Errors of the virtual GPU. */

/** What was being waited for when nothing could go on any more. */
export interface HangReport {
  readonly sm: number;
  readonly task: number;
  readonly step: number;
  /** Null where the wait is for a chunk of the stream. */
  readonly event: number | null;
  readonly expected: number;
  readonly seen: number;
}

/** A run that cannot go on: a hang, an illegal address, a failing task. */
export class VirtualGpuError extends Error {
  override readonly name = "VirtualGpuError";
  /** Set when the run hangs. */
  readonly hang: HangReport | null;

  constructor(message: string, hang: HangReport | null = null, options?: ErrorOptions) {
    super(message, options);
    this.hang = hang;
  }
}
