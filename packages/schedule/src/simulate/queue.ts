/** @file A queue of SMs by time: the least first, the lower SM among equals. */

export interface SmQueue {
  push(sm: number, nanos: number): void;
  /** The SM with the least time, or -1. Its time is then in `nanos`. */
  pop(): number;
  nanos: number;
}

/** Holds each SM at most once. */
export function createQueue(sms: number): SmQueue {
  const heap = new Int32Array(sms + 1);
  const at = new Float64Array(sms);
  let size = 0;
  // The SM popped last leaves its place at the top to the next one: mostly it comes back itself.
  let isOpen = false;
  const before = (a: number, b: number): boolean => {
    const [x, y] = [at[a] as number, at[b] as number];
    return x < y || (x === y && a < b);
  };
  const sink = (sm: number): void => {
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1] as number, heap[child] as number)) child++;
      if (before(sm, heap[child] as number)) break;
      heap[i] = heap[child] as number;
      i = child;
    }
    heap[i] = sm;
  };
  const queue: SmQueue = {
    nanos: 0,
    push(sm, nanos) {
      at[sm] = nanos;
      if (isOpen) {
        isOpen = false;
        sink(sm);
        return;
      }
      let i = size++;
      while (i > 0) {
        const parent = (i - 1) >> 1;
        const other = heap[parent] as number;
        if (before(other, sm)) break;
        heap[i] = other;
        i = parent;
      }
      heap[i] = sm;
    },
    pop() {
      if (isOpen) {
        isOpen = false;
        const last = heap[--size] as number;
        if (size > 0) sink(last);
      }
      if (size === 0) return -1;
      isOpen = true;
      const first = heap[0] as number;
      queue.nanos = at[first] as number;
      return first;
    },
  };
  return queue;
}
