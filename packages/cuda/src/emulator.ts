/** @file The emulator's C++ files: machine.cuh's names on a CPU, and the device around them. */
import { readdirSync, readFileSync } from "node:fs";

export interface EmulatorFile {
  readonly name: string;
  readonly text: string;
}

/**
 * Everything that turns an emitted source into a program for this machine: `machine_host.hpp` is
 * included before the source, `entry.hpp` after it, and every `.cpp` is linked to it.
 */
export function emulatorFiles(): readonly EmulatorFile[] {
  const folder = new URL("./emulator/", import.meta.url);
  return readdirSync(folder).sort().map((name) => ({
    name,
    text: readFileSync(new URL(name, folder), "utf8"),
  }));
}
