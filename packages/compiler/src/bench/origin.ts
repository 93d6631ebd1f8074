/** @file Where results are of: the GPU at hand and the sources that run. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gpuNumber, openDriver, type Environment } from "@mpk/runtime";
import { diagnose } from "../doctor.ts";
import type { Origin } from "./result.ts";

/** Of the repository, if this file is in one. */
const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** The GPU that is measured, and what runs on it. `commit`: where there is no git to ask. */
export async function originHere(env: Environment, commit?: string): Promise<Origin> {
  const { devices, checks } = await diagnose(env);
  const [device] = devices;
  const found = checks.find(({ name }) => name === "driver")?.detail ?? "unknown driver";
  const driver = found.replace(/ \(.*\)$/, "");  // where it lies says nothing of the machine
  const gpu = await openDriver(env).then((opened) => gpuNumber(opened, 0)).catch(() => null);
  return {
    machine: `${device?.name ?? "unknown GPU"} (${device?.sms ?? 0} SMs, ${driver})`,
    gpu, commit: commit ?? commitHere(), sources: sourcesHere(),
  };
}

function commitHere(): string | null {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], {
      cwd: import.meta.dirname, stdio: ["ignore", "pipe", "ignore"], encoding: "utf8",
    }).trim();
  } catch {
    return null;
  }
}

/** Hash of all packages' sources and the scripts beside them; null: not in the repository. */
export function sourcesHere(folder = root): string | null {
  if (!existsSync(join(folder, "bench", "beside.py"))) return null;
  const packages = join(folder, "packages");
  const folders = [
    join(folder, "bench"), ...readdirSync(packages).map((name) => join(packages, name, "src")),
  ];
  const hash = createHash("sha256");
  const files = folders.filter((each) => existsSync(each)).flatMap((each) =>
    readdirSync(each, { recursive: true, withFileTypes: true })
      .filter((file) => file.isFile() && !/node_modules|__pycache__/.test(file.parentPath))
      .map((file) => join(file.parentPath, file.name)));
  for (const path of files.toSorted()) {
    hash.update(`${relative(folder, path)}\0`).update(readFileSync(path)).update("\0");
  }
  return hash.digest("hex").slice(0, 16);
}
