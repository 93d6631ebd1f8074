/**
 * @file What the kernel adds below a Plan, as numbers: how it counts chunks, steps and triggers.
 * The verifier proves plans against them; a test in @mpk/cuda holds the device code to them.
 */

/** What the kernel adds below a Plan, as numbers that its source and law 7 share. */
export const kernelProtocol = Object.freeze({
  /** Chunk numbers, counters and step numbers are unsigned words of this many bits. */
  wordBits: 32,
  /**
   * At the end of a step, chunk numbers from two laps on start over at one lap and their rest in
   * it. A lap is the ring's stages times 2 to this power.
   */
  chunkLapShift: 21,
  /** Step descriptors that take turns. */
  descriptors: 2,
  /** Waits compare count and target by the sign of their difference: right below half a word. */
  signedWaits: true,
  /** The event word of a wait carries the edge's kind in its top bit. */
  eventBits: 31,
  /** The bit of an event word that says that steps of one token leave the event alone. */
  manyOnlyBit: 30,
  /** Reports name an op by this many bits. */
  reportedOpBits: 16,
});

/** Chunks of a lap of a ring's numbers: see `chunkLapShift`. */
export const chunkLap = (stages: number): number => stages * 2 ** kernelProtocol.chunkLapShift;
