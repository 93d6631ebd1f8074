/** @file What the CUDA driver's error codes mean for a user: whose turn it is, and the fix. Pure. */
import type { ErrorCategory } from "../errors.ts";

/** CUresult values that are told apart here; from cuda.h. */
export const CuResult = {
  success: 0,
  invalidValue: 1,
  outOfMemory: 2,
  noDevice: 100,
  noBinaryForGpu: 209,
  invalidHandle: 400,
  notReady: 600,
  cooperativeTooLarge: 720,
  illegalAddress: 700,
  systemNotReady: 802,
  driverMismatch: 803,
} as const;

interface Advice {
  readonly category: ErrorCategory;
  readonly codes: readonly number[];
  readonly fix: string;
}

const codes = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** The first that lists a code counts. */
const advice: readonly Advice[] = [
  {
    category: "runtime",
    codes: [CuResult.outOfMemory],
    fix: "free memory on the GPU, or lower --max-context",
  },
  {
    category: "environment",
    codes: [CuResult.noDevice, 101],
    fix: "no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES?); use --device virtual",
  },
  {
    category: "environment",
    codes: [46],
    fix: "another process has the GPU to itself: end it, or set compute mode `default`",
  },
  {
    category: "environment",
    codes: [34],
    fix: "a stub of libcuda was loaded: take the toolkit's stubs off LD_LIBRARY_PATH",
  },
  {
    category: "environment",
    codes: [36, 222, 221, 223, 303, 804],
    fix: "update NVIDIA's driver, or use --device virtual",
  },
  {
    category: "environment",
    codes: [CuResult.systemNotReady],
    fix: "the driver is not ready (is the fabric manager running?)",
  },
  {
    category: "environment",
    codes: [CuResult.driverMismatch],
    fix: "driver library and kernel module differ: reboot, or reinstall the driver",
  },
  {
    category: "environment",
    codes: codes(805, 810),
    fix: "MPS refuses this process: is its daemon running, with clients to spare?",
  },
  {
    category: "environment",
    codes: [102, 800, 801],
    fix: "this GPU or its virtual machine does not allow it; `mpk doctor` shows the GPU",
  },
  {
    category: "environment",
    codes: [214, 220, 226],
    fix: "the GPU reports a hardware fault: see `nvidia-smi -q` and the system log, reset the GPU",
  },
  {
    category: "runtime",
    codes: [200, CuResult.noBinaryForGpu, 218, 300, 301],
    fix: "compile for this GPU's own target (see `mpk doctor`)",
  },
  {
    category: "runtime",
    codes: [CuResult.cooperativeTooLarge, 701, 912],
    fix: "the GPU is shared with another process, or --sms is too large",
  },
  {
    category: "runtime",
    codes: [702, 909],
    fix: "the GPU also drives a display, whose own watchdog ended the kernel: use another GPU",
  },
  {
    category: "runtime",
    codes: [3, 4, 201, 708, 709],
    fix: "the process is ending, or CUDA was used before a fork: open the session where it is used",
  },
  {
    category: "runtime",
    codes: [CuResult.illegalAddress, ...codes(714, 719)],
    fix: "the kernel faulted: please report it; restart the process",
  },
];

const unexpected: Omit<Advice, "codes"> = {
  category: "runtime",
  fix: "not expected here: please report it with the output of `mpk doctor`; restart the process",
};

/** Category and fix of a CUresult that is not success. */
export function adviceOn(code: number): Omit<Advice, "codes"> {
  return advice.find((one) => one.codes.includes(code)) ?? unexpected;
}
