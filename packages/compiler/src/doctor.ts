/** @file What this machine has for running kernels, found without changing anything. */
import {
  findCompiler,
  findHostCompiler,
  findNvcc,
  listDevices,
  loadNative,
  MpkError,
  messageOf,
  openDriver,
  showVersion,
  type DeviceInfo,
  type Driver,
  type Environment,
} from "@mpk/runtime";
import { machineOfDevice } from "./machine.ts";

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what to do. */
  readonly detail: string;
}

export interface Diagnosis {
  readonly checks: readonly Check[];
  readonly devices: readonly DeviceInfo[];
  /** What `--device auto` will take. */
  readonly uses: "cuda" | "virtual";
  readonly verdict: string;
}

const told = (error: unknown): string =>
  error instanceof MpkError ? `${error.message}; ${error.fix}` : messageOf(error);

async function attempt<T>(work: () => Promise<T> | T): Promise<{ value: T } | { failure: string }> {
  try {
    return { value: await work() };
  } catch (error) {
    return { failure: told(error) };
  }
}

/** Looks at Node, koffi, the driver, the GPUs and the compilers. Never throws. */
export async function diagnose(env: Environment = process.env): Promise<Diagnosis> {
  const checks: Check[] = [];
  const supported: DeviceInfo[] = [];
  const note = (name: string, ok: boolean, detail: string) => checks.push({ name, ok, detail });
  note("Node", true, `${process.version} on ${process.platform}-${process.arch}`);
  const native = await attempt(loadNative);
  note("koffi", "value" in native, "value" in native ? "loads" : native.failure);
  const driver = await attempt(() => openDriver(env));
  note("driver", "value" in driver, "value" in driver ? describe(driver.value) : driver.failure);
  const found = "value" in driver ? await attempt(() => listDevices(driver.value)) : driver;
  const devices = "value" in found && Array.isArray(found.value) ? found.value : [];
  for (const device of devices) {
    const described = await attempt(() => describeDevice(device));
    const usable = "value" in described;
    note(`GPU ${device.ordinal}`, usable, usable ? described.value : described.failure);
    supported.push(...(usable ? [device] : []));
  }
  if (devices.length === 0) note("GPU", false, "none is visible");
  const compiler = await attempt(() =>
    findCompiler("value" in driver ? driver.value.version : null, env),
  );
  const builds = "value" in compiler ? compiler.value : null;
  const nvrtc = builds?.kind === "nvrtc" ? `${builds.version} (${builds.path})` : null;
  note("NVRTC", nvrtc !== null, nvrtc ?? "libnvrtc.so.13 or .12 was not found");
  const nvcc = await findNvcc(env);
  note("nvcc", nvcc !== null, nvcc === null ? "not found" : `${nvcc.version} (${nvcc.path})`);
  const host = findHostCompiler(env);
  note("C++", host !== null, host ?? "none was found: --device emulated needs g++ or clang++");
  return { checks, devices, ...verdictOf(supported, builds) };
}

const describe = (driver: Driver): string =>
  `CUDA ${showVersion(driver.version)} (${driver.path})`;

function describeDevice(device: DeviceInfo): string {
  const { target, machine } = machineOfDevice(device);
  const gib = (device.totalBytes / 2 ** 30).toFixed(0);
  return `${device.name}, ${gib} GiB, ${machine.sms} SMs, compiled for as ${target}`;
}

function verdictOf(
  devices: readonly DeviceInfo[],
  compiler: { readonly kind: string } | null,
): Pick<Diagnosis, "uses" | "verdict"> {
  const [device] = devices;
  if (device === undefined) {
    return { uses: "virtual", verdict: "models run on the virtual GPU: there is no GPU to use" };
  }
  if (compiler === null) {
    return {
      uses: "virtual",
      verdict: "models run on the virtual GPU: there is a GPU, but neither NVRTC nor nvcc",
    };
  }
  return {
    uses: "cuda",
    verdict: `models run on GPU ${device.ordinal} (${device.name}), built with ${compiler.kind}`,
  };
}
