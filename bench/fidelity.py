"""The fidelity gate: fidelity.py CHECKPOINT RUN.json LOGITS.f32

RUN.json holds `prompt` and `tokens` (ids); LOGITS.f32 the kernel's raw float32 logits, one row per
generated token. transformers runs the same weights on the same tokens, teacher-forced, in float32
and in its own bf16. Passes if the kernel's relative L2 error against float32 is at most 1.1 times
that of transformers' bf16, and its tokens are float32's wherever float32's gap between the two best
logits exceeds twice the kernel's largest error. Needs torch, transformers, numpy.
"""
import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def main() -> int:
    checkpoint, run_path, logits_path = sys.argv[1:4]
    run = json.load(open(run_path))
    tokens = run["tokens"]
    n = len(tokens)
    ids = torch.tensor([run["prompt"] + tokens[:-1]], device="cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).cuda().eval()
    with torch.no_grad():
        bf16 = model(ids, logits_to_keep=n).logits[0].float()
        model = model.float()
        f32 = model(ids, logits_to_keep=n).logits[0].float()
    ours = torch.from_numpy(np.fromfile(logits_path, dtype=np.float32)).reshape(n, -1).cuda()

    def error(x: torch.Tensor) -> float:
        return ((x.double() - f32.double()).norm() / f32.double().norm()).item()

    largest = (ours - f32).abs().max().item()
    best = f32.topk(2, dim=-1)
    gap = best.values[:, 0] - best.values[:, 1]
    agree = best.indices[:, 0].cpu() == torch.tensor(tokens)
    must = (gap > 2 * largest).cpu()
    result = {
        "positions": n,
        "ours": error(ours),
        "transformersBf16": error(bf16),
        "ratio": error(ours) / error(bf16),
        "largestError": largest,
        "agree": int(agree.sum()),
        "mustAgree": int(must.sum()),
        "wrong": int((must & ~agree).sum()),
    }
    result["passed"] = bool(result["ratio"] <= 1.1 and result["wrong"] == 0)
    print(json.dumps(result))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
