/** @file Philox4x32-10, a counter-based random generator. Pure. */

const [m0, m1] = [0xd2511f53, 0xcd9e8d57];
const [w0, w1] = [0x9e3779b9, 0xbb67ae85];

/** The high 32 bits of a 32 by 32 bit product. */
function mulHigh(a: number, b: number): number {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = al * bl;
  const middle = ah * bl + (low >>> 16);
  const cross = al * bh + (middle % 0x10000);
  return (ah * bh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000)) >>> 0;
}

/**
 * Philox4x32 with 10 rounds (Salmon et al. 2011): four random words of a counter of four words,
 * under a key of two. The same words come out in any order of calls and on any device.
 */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): readonly [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = [mulHigh(m0, c0), Math.imul(m0, c0)];
    const [high1, low1] = [mulHigh(m1, c2), Math.imul(m1, c2)];
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0].map((word) => word >>> 0) as [
      number,
      number,
      number,
      number,
    ];
    k0 = (k0 + w0) >>> 0;
    k1 = (k1 + w1) >>> 0;
  }
  return [c0, c1, c2, c3];
}
