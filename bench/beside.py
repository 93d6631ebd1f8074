"""What `mpk bench` measures beside a kernel, on the same weights in one process: beside.py < REQUEST

Imports first, then reads one line of JSON: `config` (of config.json), `checkpoint` (a folder, or null:
weights of `seed` are made where they are used), `context`, `torch` (time PyTorch's best step), `run`
(null, or `prompt`, `tokens` and the path `logits`: hold them to transformers), `scratch` (a folder),
`lock` (a file: what is timed holds it alone, all else on the GPU shares it, over several processes).
Prints lines of JSON, each as soon as it is known: `fidelity`, `torch`, `seconds` by part.
"""
import contextlib
import ctypes
import fcntl
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from fidelity import gate
from random_weights import make
from torch_baseline import complete, time_step

device = "cuda" if torch.cuda.is_available() else "cpu"
seconds = {}


def say(**parts) -> None:
    print(json.dumps(parts), flush=True)


def timed(part: str, start: float) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    seconds[part] = round(time.monotonic() - start, 1)


class Lock:
    """Many share the GPU, one has it alone."""
    def __init__(self, path: str):
        self.file = open(path, "w")

    @contextlib.contextmanager
    def held(self, how: int):
        fcntl.flock(self.file, how)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    def shared(self):
        return self.held(fcntl.LOCK_SH)

    def alone(self):
        return self.held(fcntl.LOCK_EX)


def load(request: dict):
    """The model in bf16 on the device, with the checkpoint's weights or those of the seed."""
    if request["checkpoint"]:
        checkpoint = request["checkpoint"]
        return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).to(device).eval()
    with tempfile.TemporaryDirectory(dir=request["scratch"]) as folder:
        (Path(folder) / "config.json").write_text(json.dumps(request["config"]))
        config = AutoConfig.from_pretrained(folder)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    seed = int(request["seed"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # tied tensors once, as on disk
            # In small pieces: others have the GPU's memory too.
            parameter.copy_(make(torch, name, tuple(parameter.shape), seed, device, step=1 << 22))
    if device == "cuda":
        torch.cuda.empty_cache()
    return model.eval()


def fidelity(model, run: dict):
    try:
        return gate(model, run["prompt"], run["tokens"], run["logits"])
    except Exception as error:  # one part's failure is told, the other is measured all the same
        return f"fidelity.py failed: {str(error).splitlines()[0] if str(error) else repr(error)}"


def baseline(weights: dict, request: dict, lock: Lock):
    if device == "cpu":
        return "PyTorch sees no GPU"
    try:
        context = request["context"]
        slots = (context + 256 + 63) // 64 * 64
        ms = time_step(complete(request["config"]), weights, context=context, slots=slots,
                       shared=lock.shared, alone=lock.alone)
        return {"msPerToken": ms, "torch": torch.__version__}
    except (Exception, SystemExit) as error:
        return f"torch_baseline.py failed: {str(error).splitlines()[0] if str(error) else repr(error)}"


def main() -> None:
    try:  # if who asks is gone, so is this, with its memory
        ctypes.CDLL(None).prctl(1, 9)
    except (OSError, AttributeError):
        pass
    line = sys.stdin.readline()
    if not line.strip():
        return
    request = json.loads(line)
    lock = Lock(request["lock"])
    with lock.shared():
        start = time.monotonic()
        model = load(request)
        timed("weights", start)
        if request["run"]:
            start = time.monotonic()
            result = fidelity(model, request["run"])
            timed("fidelity", start)
            say(fidelity=result, seconds=seconds)
    if request["torch"]:
        start = time.monotonic()
        weights = {name: p.data for name, p in model.named_parameters()}
        del model
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
        say(torch=baseline(weights, request, lock))
        timed("baseline", start)
    say(seconds=seconds)


if __name__ == "__main__":
    main()
