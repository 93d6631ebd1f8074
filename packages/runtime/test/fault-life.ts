/** @file A session's whole life on the fake GPU, with a fault planted in one driver call. */
import { expect } from "vitest";
import { MpkError } from "../src/errors.ts";
import type { Session } from "../src/session.ts";
import { firstToken, read, vocab, type FakeGpu, type Fault } from "./fake-gpu.ts";

/** CUresult values of CUDA 13's cuda.h, without success and "not ready", which is no error. */
export const codes: readonly number[] = [
  [1, 8], [34, 34], [36, 36], [46, 46], [100, 102], [200, 202], [205, 226], [300, 304], [400, 402],
  [500, 500], [700, 705], [708, 721], [800, 812], [900, 916], [999, 999],
].flatMap(([from = 0, to = 0]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));

const prompt = [5, 6, 7];
const expected = Array.from({ length: 4 }, (_, i) => (firstToken(prompt) + i) % vocab);
export const generate = (session: Session): Promise<number[]> =>
  read(session.generate({ promptIds: prompt, maxTokens: 4, logits: "all", stamps: true }));

/** One whole life: open, generate twice, leave a third generation early, close. Errors in order. */
export async function life(gpu: FakeGpu): Promise<readonly unknown[]> {
  const errors: unknown[] = [];
  const note = (error: unknown): null => {
    errors.push(error);
    return null;
  };
  const session = await gpu.open().catch(note);
  if (session === null) return errors;
  const first = await generate(session).catch(note);
  const second = await generate(session).catch(note);
  const early = session.generate({ promptIds: prompt, maxTokens: 200 });
  const third = await read(early, 2).catch(note);
  await session.close().catch(note);
  for (const got of [first, second]) if (got !== null) expect(got).toEqual(expected);
  if (third !== null) expect(third).toEqual(expected.slice(0, 2));
  return errors;
}

/** Which calls a life makes, and how often. */
export async function callsOfALife(gpu: FakeGpu): Promise<readonly (readonly [string, number])[]> {
  gpu.plant(null);
  expect(await life(gpu)).toEqual([]);
  return Object.entries(gpu.calls());
}

/** Plants a fault in a life: it is told once and well, and nothing is held afterwards. */
export async function check(gpu: FakeGpu, fault: Fault): Promise<void> {
  gpu.plant(fault);
  const errors = await life(gpu);
  const hit = gpu.hit();
  const { freedBusy, ...held } = gpu.held();
  // Waits are as many as the clock lets them be: a late one may not come.
  expect(hit || fault.call.endsWith("Query")).toBe(true);
  if (hit) {
    expect(errors.length).toBeGreaterThan(0);
    // What fails once fails one thing; what goes on failing fails all that follows.
    if (!fault.sticky) expect(errors).toHaveLength(1);
    const [told] = errors;
    expect(told).toBeInstanceOf(MpkError);
    const { message, fix } = told as MpkError;
    // The cause is told; giving back is told only where nothing else failed.
    const givesBack = /Free|Destroy|Unload|Release/.test(fault.call);
    if (!(givesBack && fault.sticky)) expect(message).toContain(fault.call);
    expect(message).toContain(`CUDA_ERROR_${fault.code} (${fault.code}): described by the fake`);
    expect(fix).toMatch(/\w{3}/);
  }
  // A context that cannot be given back is the driver's to keep; all else is back.
  const stuck = hit && fault.call === "cuDevicePrimaryCtxRelease_v2" && fault.code !== 0;
  expect(held).toEqual({
    contexts: stuck ? 1 : 0, memories: 0, bytes: 0, streams: 0, events: 0, modules: 0,
  });
  // Where every later call fails, asking whether the kernel has ended fails too.
  if (!fault.sticky && !fault.call.endsWith("Query")) expect(freedBusy).toBe(0);
  gpu.plant(null);
  if (stuck) gpu.releaseContext();
}
