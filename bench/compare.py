"""Speed with its proof, for public shapes with random weights: compare.py SHAPE ... [--out FILE]

For each shape: makes the checkpoint, decodes with our one-launch kernel (20 reruns compared bit for
bit), holds its logits to transformers (fidelity.py), and times PyTorch's best in the same run
(torch_baseline.py). The limit is bytes of weights a token must read (from config.json) over the
larger of 4.6 TB/s and the read bandwidth measured in the run. Needs a GPU, node on PATH (or
--node), torch and transformers. Exit code 1 if any shape fails its fidelity gate or a rerun differs.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

from shapes import SHAPES, streamed_bytes

here = pathlib.Path(__file__).parent


def call(command: list, timeout: int):
    """The JSON object that a command prints last; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        print(f"{command[1]}: no answer in {timeout} s", file=sys.stderr)
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{command}:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def measure(shape: str, args) -> dict:
    folder = pathlib.Path(args.scratch) / shape
    run = str(folder / "run")
    python = sys.executable
    subprocess.run([python, here / "make_random.py", shape, folder, "--seed", str(args.seed)],
                   check=True)
    node = [args.node, "--conditions=@mpk/source", "--disable-warning=ExperimentalWarning"]
    ours = call([*node, here / "decode.ts", folder, "--logits", run, "--reruns",
                 str(args.reruns)], 300)
    fidelity = call([python, here / "fidelity.py", folder, f"{run}.json", f"{run}.f32"], 300)
    torch = None if args.no_torch else call([python, here / "torch_baseline.py", folder], 300)
    if not args.keep:
        shutil.rmtree(folder)
    config = SHAPES[shape]
    read = max(4.6e12, torch["readBytesPerSecond"] if torch else 0)
    floor = streamed_bytes(config) / read * 1e3
    return {"shape": shape, "bytes": streamed_bytes(config), "limitBytesPerSecond": read,
            "floorMs": floor, "ours": ours, "fidelity": fidelity, "torch": torch}


def row(r: dict) -> str:
    ours, torch, fidelity = r["ours"], r["torch"], r["fidelity"]
    if ours is None or fidelity is None:
        return f"{r['shape']:14} failed"
    ms = ours["msPerToken"]["p50"]
    beside = f"{torch['msPerToken']:.3f}" if torch else "-"
    return (f"{r['shape']:14} {ms:7.3f} ms ({r['floorMs'] / ms:4.0%} of the limit, floor "
            f"{r['floorMs']:.3f}) p99 {ours['msPerToken']['p99']:.3f} events "
            f"{ours['eventMsPerToken']:.3f} | PyTorch {beside} ms | fidelity {fidelity['ratio']:.2f} "
            f"of bf16's error, {fidelity['wrong']} wrong of {fidelity['mustAgree']}, "
            f"{'passed' if fidelity['passed'] else 'FAILED'} | {ours['rerunsEqual']} of "
            f"{ours['reruns']} reruns equal | prompt step {ours['promptStepMillis']:.2f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=["llama-3.2-1b", "qwen3-0.6b", "qwen3-8b"])
    parser.add_argument("--out", help="write the results as JSON")
    parser.add_argument("--reruns", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--node", default="node")
    parser.add_argument("--scratch", default="/dev/shm" if os.path.isdir("/dev/shm") else "/tmp")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch's time out")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints")
    args = parser.parse_args()
    results = []
    for shape in args.shapes:
        results.append(measure(shape, args))
        print(row(results[-1]), flush=True)
        if args.out:
            pathlib.Path(args.out).write_text(json.dumps(results, indent=1))
    good = all(r["fidelity"] and r["fidelity"]["passed"] and r["ours"] and
               r["ours"]["rerunsEqual"] == r["ours"]["reruns"] for r in results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
