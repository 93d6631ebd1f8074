/** @file Files in and out: regular files of bounded size are read, writes are whole or not at all. */
import { randomUUID } from "node:crypto";
import {
  closeSync, constants, existsSync, fstatSync, fsyncSync, mkdirSync, openSync, readSync, realpathSync,
  renameSync, rmSync, statSync, writeFileSync, writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { inputError, messageOf } from "./errors.ts";

export interface OpenFile {
  readonly fd: number;
  readonly bytes: number;
}

/**
 * Opens a regular file for reading; the caller closes it.
 * @throws MpkError (input) where there is none. A pipe or device does not hang, it is refused.
 */
export function openRegular(path: string, fix = "check the path"): OpenFile {
  const fd = attempt(path, fix, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  const info = fstatSync(fd);
  if (info.isFile()) return { fd, bytes: info.size };
  closeSync(fd);
  throw inputError(`${path}: not a regular file`, fix);
}

function attempt<T>(path: string, fix: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw inputError(`${path}: cannot be read: ${messageOf(error)}`, fix, error);
  }
}

/** A whole file of at most `maxBytes`. @throws MpkError (input) naming the file. */
export function readBounded(path: string, maxBytes: number): Uint8Array {
  const { fd, bytes } = openRegular(path);
  try {
    if (bytes > maxBytes) {
      throw inputError(
        `${path}: has ${bytes} bytes, at most ${maxBytes} are read`,
        "is this the file that belongs there?",
      );
    }
    const out = new Uint8Array(bytes);
    let done = 0;
    while (done < bytes) {
      const got = attempt(path, "check the disk", () => readSync(fd, out, done, bytes - done, done));
      if (got === 0) break;
      done += got;
    }
    return out.subarray(0, done);
  } finally {
    closeSync(fd);
  }
}

/** As mkdir -p. Node's own recursive mkdir never returns where a parent refuses, as /proc does. */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process was quicker.
    if (!existsSync(path)) throw error;
  }
}

/**
 * Writes a file whole or not at all: a temporary file beside it, flushed to the disk, renamed over
 * it. Whoever dies or runs out of space in between leaves the old file as it was. A link's target is
 * replaced, not the link; what is no regular file (a pipe, /dev/stdout) is written to as it is.
 * @throws the system's error, with no temporary file left.
 */
export function writeAtomic(path: string, content: string | Uint8Array): void {
  const old = statSync(path, { throwIfNoEntry: false });
  if (old !== undefined && !old.isFile()) return writeFileSync(path, content);
  const target = old === undefined ? path : realpathSync(path);
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const temporary = join(dirname(target), `.${basename(target).slice(0, 60)}.${randomUUID()}.tmp`);
  try {
    const fd = openSync(temporary, "wx", old === undefined ? 0o666 : old.mode & 0o777);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
