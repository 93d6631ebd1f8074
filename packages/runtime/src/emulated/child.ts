/** @file The emulated device's process: requests go in, answers come out (see protocol.hpp). */
import { spawn } from "node:child_process";
import { runtimeError, type MpkError } from "../errors.ts";
import { explainFault } from "./explain.ts";

/** Kinds of requests and answers, as in protocol.hpp. */
export const Request = {
  allocate: 1, write: 2, fill: 3, read: 4, pack: 5, launch: 6, stop: 7, free: 8,
} as const;
export const Answer = { address: 1, bytes: 2, done: 3, token: 4, fault: 5 } as const;

const headerBytes = 16;

export interface Message {
  readonly kind: number;
  readonly payload: Uint8Array;
}

export interface EmulatorProcess {
  /** Sends a request; waits only while the pipe is full. */
  send(kind: number, which: number, ...payload: readonly Uint8Array[]): Promise<void>;
  /** The next answer. @throws MpkError (runtime) for a fault, or a process that ended. */
  receive(): Promise<Message>;
  /** Ends the process; its launch, if one runs, is lost. */
  close(): Promise<void>;
}

/** Cuts a stream of bytes into messages. */
function splitter(onMessage: (message: Message) => void): (chunk: Uint8Array) => void {
  let rest = new Uint8Array(0);
  return (chunk) => {
    const joined = new Uint8Array(rest.length + chunk.length);
    joined.set(rest);
    joined.set(chunk, rest.length);
    const view = new DataView(joined.buffer);
    let at = 0;
    while (joined.length - at >= headerBytes) {
      const bytes = Number(view.getBigUint64(at + 8, true));
      if (joined.length - at - headerBytes < bytes) break;
      const from = at + headerBytes;
      onMessage({ kind: view.getUint32(at, true), payload: joined.slice(from, from + bytes) });
      at = from + bytes;
    }
    rest = joined.slice(at);
  };
}

/** What a process left behind that ended when it should not have. */
function ended(code: number | null, signal: string | null, said: string): MpkError {
  const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
  const tail = said.trim().split("\n").slice(0, 40).join("\n");
  return runtimeError(
    `the emulated kernel ended with ${how}${tail === "" ? "" : `:\n${tail}`}`,
    "this is a fault of the emitted kernel or of the emulator: please report it",
  );
}

/** Starts the program at `path`, built from `source`. */
export function startEmulator(path: string, source: string): EmulatorProcess {
  const child = spawn(path, [], { stdio: ["pipe", "pipe", "pipe"] });
  const messages: Message[] = [];
  let wake: () => void = () => undefined;
  let said = "";
  let failure: MpkError | null = null;
  const fail = (error: MpkError) => {
    failure ??= error;
    wake();
  };
  const split = splitter((message) => {
    messages.push(message);
    wake();
  });
  const faultOf = async ({ payload }: Message): Promise<MpkError> => {
    const text = await explainFault(new TextDecoder().decode(payload), path, source);
    return runtimeError(
      `the emulated kernel is at fault: ${text}`,
      "please report it with the model's config.json and the schedule seed",
    );
  };
  child.stdout.on("data", split);
  child.stderr.on("data", (chunk: Buffer) => void (said += chunk.toString()));
  // A process that is gone closes the pipe; its exit tells more than the failed write.
  child.stdin.on("error", () => undefined);
  child.on("error", (error) => fail(runtimeError(`${path}: ${error.message}`, "run it again", error)));
  const exited = new Promise<void>((resolve) => {
    child.on("close", (code, signal) => {
      fail(ended(code, signal, said));
      resolve();
    });
  });
  return {
    async send(kind, which, ...payload) {
      const header = new Uint8Array(headerBytes);
      const view = new DataView(header.buffer);
      view.setUint32(0, kind, true);
      view.setUint32(4, which, true);
      view.setBigUint64(8, BigInt(payload.reduce((sum, part) => sum + part.length, 0)), true);
      for (const part of [header, ...payload]) {
        if (child.stdin.write(part) || failure !== null) continue;
        await Promise.race([
          new Promise((resolve) => child.stdin.once("drain", resolve)),
          exited,
        ]);
      }
    },
    async receive() {
      for (;;) {
        const message = messages[0];
        if (message?.kind === Answer.fault) throw await faultOf(message);
        if (message !== undefined) {
          messages.shift();
          return message;
        }
        if (failure !== null) throw failure;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    async close() {
      child.stdin.end();
      child.kill("SIGKILL");
      await exited;
    },
  };
}
