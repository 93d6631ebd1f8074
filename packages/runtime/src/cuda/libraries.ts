/** @file Where the CUDA driver, NVRTC and nvcc may be. Looks at folders; runs nothing. */
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";

/** The environment variables that matter here; tests pass their own. */
export type Environment = Readonly<Record<string, string | undefined>>;

const folders = (value: string | undefined) => (value ?? "").split(delimiter).filter(Boolean);

/** A toolkit that the environment names stands in for the usual one. */
const toolkitHome = (env: Environment) =>
  env["CUDA_HOME"] ?? env["CUDA_PATH"] ?? "/usr/local/cuda";

/** `lib/python3.x/site-packages` and the like under each Python installation that shows itself. */
function pythonPackages(env: Environment): readonly string[] {
  const interpreter = folders(env["PATH"]).map((dir) => join(dir, "python3")).find(existsSync);
  const prefixes = [
    env["VIRTUAL_ENV"],
    env["CONDA_PREFIX"],
    join(homedir(), ".local"),
    interpreter && dirname(dirname(realpathSync(interpreter))),
    "/usr/local",
    "/usr",
  ].filter((prefix) => prefix !== undefined);
  return [...new Set(prefixes)].flatMap((prefix) => {
    const lib = join(prefix, "lib");
    const pythons = list(lib).filter((name) => name.startsWith("python3"));
    return pythons.flatMap((name) =>
      ["site-packages", "dist-packages"].map((kind) => join(lib, name, kind)),
    );
  });
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Full paths of files that exist, then bare names for the loader's own search. */
function candidates(dirs: readonly string[], names: readonly string[]): readonly string[] {
  const files = names.flatMap((name) => dirs.map((dir) => join(dir, name)));
  return [...new Set(files.filter((file) => existsSync(file))), ...names];
}

/** Paths to try for the driver library, best first. */
export function driverPaths(env: Environment): readonly string[] {
  if (process.platform === "win32") return ["nvcuda.dll"];
  const dirs = [
    ...folders(env["LD_LIBRARY_PATH"]),
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/wsl/lib",
  ];
  return candidates(dirs, ["libcuda.so.1", "libcuda.so"]);
}

/** Paths to try for NVRTC of one major version, best first. */
export function nvrtcPaths(env: Environment, major: number): readonly string[] {
  if (process.platform === "win32") return [`nvrtc64_${major}0_0.dll`];
  const dirs = [
    ...folders(env["LD_LIBRARY_PATH"]),
    join(toolkitHome(env), "lib64"),
    join(toolkitHome(env), "lib"),
    `/usr/local/cuda-${major}/lib64`,
    ...pythonPackages(env).flatMap((site) => [
      join(site, "nvidia", `cu${major}`, "lib"),
      join(site, "nvidia", "cuda_nvrtc", "lib"),
    ]),
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
  ];
  return candidates(dirs, [`libnvrtc.so.${major}`]);
}

/** The library that NVRTC opens by its bare name, where it lies beside NVRTC at `path`. */
export function nvrtcBuiltins(path: string): readonly string[] {
  const dir = dirname(path);
  const names = list(dir).filter((name) => name.startsWith("libnvrtc-builtins.so."));
  return names.map((name) => join(dir, name));
}

/** nvcc's path, or null. */
export function nvccPath(env: Environment): string | null {
  const dirs = [...folders(env["PATH"]), join(toolkitHome(env), "bin")];
  const name = process.platform === "win32" ? "nvcc.exe" : "nvcc";
  return dirs.map((dir) => join(dir, name)).find((file) => existsSync(file)) ?? null;
}
