/** @file What only shows on a GPU: a process killed in the middle of a step, and no memory left. */
import { open, type FaultResult } from "@mpk/compiler";
import { openDevice, openDriver, type Environment, type Session } from "@mpk/runtime";
import { spawn } from "node:child_process";

const prompt = [3, 8, 13];

async function tokensOf(session: Session): Promise<string> {
  const tokens: number[] = [];
  for await (const id of session.generate({ promptIds: prompt, maxTokens: 12, eosIds: [] })) tokens.push(id);
  return tokens.join(" ");
}

/** Another process generates and is killed at its first output; ours goes on as before. */
export async function showKilled(checkpoint: string, session: Session): Promise<FaultResult> {
  const name = "another process killed while its kernel runs";
  const before = await tokensOf(session);
  const start = performance.now();
  const args = [
    ...process.execArgv, process.argv[1] ?? "", "run", checkpoint, "--device", "cuda", "--no-eos",
    "--prompt-ids", prompt.join(), "--max-tokens", "100000",
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  child.stdout.once("data", () => void child.kill("SIGKILL"));
  const signal = await new Promise<string>((resolve) => {
    child.once("exit", (code, how) => resolve(how ?? `code ${code}`));
  });
  const after = await tokensOf(session);
  const isSame = after === before;
  return {
    name, passed: isSame && signal === "SIGKILL", seconds: (performance.now() - start) / 1000,
    seen: `ended by ${signal}; the next prompt here gives ${isSame ? "the same tokens" : after}`,
  };
}

/** Bytes left free: less than the smallest model needs with its ring of pinned pieces. */
const leftBytes = 8 * 2 ** 20;

/** All memory is taken: opening is refused in words, and works once it is given back. */
export async function showNoMemory(
  checkpoint: string,
  session: Session,
  env: Environment,
): Promise<FaultResult> {
  const name = "no memory left on the GPU";
  const before = await tokensOf(session);
  const device = openDevice(await openDriver(env));
  const { freeBytes } = device.memory();
  const hog = device.alloc(freeBytes - leftBytes, "all of it");
  const start = performance.now();
  const opening = () => open(checkpoint, { device: "cuda", env, tuned: false });
  const seen = await opening().then(
    (opened) => opened.close().then(() => "no error"),
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  const seconds = (performance.now() - start) / 1000;
  device.free(hog);
  device.close();
  const again = await opening();
  const answers = [await tokensOf(again.session), await tokensOf(session)];
  await again.close();
  const isSame = answers.every((each) => each === before);
  return {
    name, passed: isSame && /memory|are free/.test(seen), seconds,
    seen: `${seen}; the next prompts give ${isSame ? "the same tokens" : answers.join(" and ")}`,
  };
}
