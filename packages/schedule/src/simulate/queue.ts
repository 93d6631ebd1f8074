/** @file A queue of SMs by time: the least first, the lower SM among equals. */

export interface SmQueue {
  push(sm: number, nanos: number): void;
  /** The SM with the least time, or -1. Its time is then in `nanos`. */
  pop(): number;
  nanos: number;
}

/** Holds each SM at most once. */
export function createQueue(sms: number): SmQueue {
  const heap = new Int32Array(sms);
  const at = new Float64Array(sms);
  let size = 0;
  const before = (a: number, b: number): boolean => {
    const [x, y] = [at[a] ?? 0, at[b] ?? 0];
    return x < y || (x === y && a < b);
  };
  const queue: SmQueue = {
    nanos: 0,
    push(sm, nanos) {
      at[sm] = nanos;
      let i = size++;
      while (i > 0) {
        const parent = (i - 1) >> 1;
        const other = heap[parent] ?? 0;
        if (before(other, sm)) break;
        heap[i] = other;
        i = parent;
      }
      heap[i] = sm;
    },
    pop() {
      if (size === 0) return -1;
      const first = heap[0] ?? 0;
      queue.nanos = at[first] ?? 0;
      const last = heap[--size] ?? 0;
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= size) break;
        if (child + 1 < size && before(heap[child + 1] ?? 0, heap[child] ?? 0)) child++;
        if (before(last, heap[child] ?? 0)) break;
        heap[i] = heap[child] ?? 0;
        i = child;
      }
      heap[i] = last;
      return first;
    },
  };
  return queue;
}
