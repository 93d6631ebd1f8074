/** @file Pages for the viewer's tests: a small model on six SMs, predicted and as if measured. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tinyConfig } from "../../../compiler/test/checkpoint.ts";
import { mpk } from "../io.ts";

export interface Pages {
  readonly folder: string;
  readonly model: string;
  readonly machine: string;
  /** Of the model, on a slower machine. */
  readonly profile: string;
  /** Of the model with another width. */
  readonly other: string;
  /** Prediction alone, and above a profile. */
  readonly one: string;
  readonly two: string;
}

/** Costs of no real machine, so that none's changes alter the pictures. */
const constants = {
  streamShare: 0.9, copyLatencyNanos: 700, handOffNanos: 700, signalNanos: 5, flagNanos: 400,
  prologueNanos: 600, epilogueNanos: 400, stateNanos: 500, stepNanos: 1000, activationBytesPerNano: 25,
  stateBytesPerNano: 50, chunkNanos: 800,
};

async function must(args: readonly string[]): Promise<void> {
  const ran = await mpk(args);
  if (ran.code !== 0) throw new Error(`mpk ${args.join(" ")}: ${ran.err}`);
}

export async function makePages(folder: string): Promise<Pages> {
  mkdirSync(folder, { recursive: true });
  const at = (name: string): string => join(folder, name);
  const [model, machine, slower] = [at("config.json"), at("machine.json"), at("slower.json")];
  writeFileSync(model, JSON.stringify(tinyConfig));
  await must(["simulate", model, "--write-machine", machine]);
  const gpu = JSON.parse(readFileSync(machine, "utf8"));
  gpu.machine.sms = 6;
  gpu.machine.readBytesPerSecond = 6 * 35e9;
  writeFileSync(machine, JSON.stringify({ ...gpu, name: "six", constants }));
  const slow = { ...constants, flagNanos: 900, prologueNanos: 900, epilogueNanos: 700 };
  writeFileSync(slower, JSON.stringify({ ...gpu, name: "slow", constants: slow }));
  const profileOf = async (name: string, of: string): Promise<string> => {
    await must(["simulate", of, "--machine", slower, "--context", "20", "--out", at(`${name}.json`)]);
    const path = at(`${name}.profile.json`);
    const { simulated: _, ...measured } = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...measured, device: "a test" }));
    return path;
  };
  const profile = await profileOf("slow", model);
  const wide = at("wide.json");
  writeFileSync(wide, JSON.stringify({ ...tinyConfig, intermediate_size: 192 }));
  const other = await profileOf("other", wide);
  const [one, two] = [at("one.html"), at("two.html")];
  const view = ["view", model, "--machine", machine, "--context", "20"];
  await must([...view, "--out", one]);
  await must([...view, "--profile", profile, "--out", two]);
  return { folder, model, machine, profile, other, one, two };
}
