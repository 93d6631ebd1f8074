"""The fidelity gate: fidelity.py CHECKPOINT RUN.json LOGITS.f32

RUN.json holds `prompt` and `tokens` (ids); LOGITS.f32 the kernel's raw float32 logits, one row per
generated token. transformers runs the same weights on the same tokens, teacher-forced, in float32
and in its own bf16. Passes if the kernel's relative L2 error against float32 is at most 1.1 times
that of transformers' bf16, and its tokens are float32's wherever float32's gap between the two best
logits exceeds twice the kernel's largest error. Float32 is had module by module, so a model of 70 GB
takes little more than that. Needs torch, transformers, numpy.
"""
import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache


def in_float32(model) -> list:
    """While these hooks are there, each part is float32 as it runs, and bf16 again after it."""
    def widen(module, _):
        module.float()

    def narrow(module, _, __):
        module.to(torch.bfloat16)  # exact: what was bf16 before is bf16 again

    body = model.model
    parts = [body.embed_tokens, *body.layers, body.norm, model.lm_head]
    return [hook for part in parts for hook in
            (part.register_forward_pre_hook(widen), part.register_forward_hook(narrow))]


# Rows of the sequence that float32 takes at a time: its scores of a long context are many GB at once.
MOST_ROWS = 2048


def logits_of(model, ids: torch.Tensor, count: int, most: int) -> torch.Tensor:
    """Logits of the last `count` positions, `most` rows at a time behind a cache of those before."""
    length = ids.shape[1]
    if length <= most:
        return model(ids, logits_to_keep=count, use_cache=False).logits[0]
    cache, rows = DynamicCache(config=model.config), []
    for lo in range(0, length, most):
        hi = min(lo + most, length)
        wanted = max(0, hi - max(lo, length - count))
        out = model(ids[:, lo:hi], past_key_values=cache, use_cache=True, logits_to_keep=max(1, wanted))
        rows.append(out.logits[0][-wanted:] if wanted else out.logits[0][:0])
    return torch.cat(rows)


def reference(model, ids: torch.Tensor, count: int) -> tuple:
    """Logits of the last `count` positions, in transformers' own bf16 and in float32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.no_grad():
        bf16 = logits_of(model, ids, count, ids.shape[1]).float()
        hooks = in_float32(model)
        f32 = logits_of(model, ids, count, MOST_ROWS)
        for hook in hooks:
            hook.remove()
    if f32.dtype != torch.float32:
        raise SystemExit(f"the float32 run gave {f32.dtype}")
    return bf16, f32


def compare(ours: torch.Tensor, bf16: torch.Tensor, f32: torch.Tensor, tokens: list) -> dict:
    def error(x: torch.Tensor) -> float:
        return ((x.double() - f32.double()).norm() / f32.double().norm()).item()

    largest = (ours - f32).abs().max().item()
    best = f32.topk(2, dim=-1)
    gap = best.values[:, 0] - best.values[:, 1]
    agree = best.indices[:, 0].cpu() == torch.tensor(tokens)
    must = (gap > 2 * largest).cpu()
    result = {
        "positions": len(tokens),
        "ours": error(ours),
        "transformersBf16": error(bf16),
        "ratio": error(ours) / error(bf16),
        "largestError": largest,
        "agree": int(agree.sum()),
        "mustAgree": int(must.sum()),
        "wrong": int((must & ~agree).sum()),
    }
    result["passed"] = bool(result["ratio"] <= 1.1 and result["wrong"] == 0)
    return result


def gate(model, prompt: list, tokens: list, logits_path: str) -> dict:
    device = next(model.parameters()).device
    ids = torch.tensor([prompt + tokens[:-1]], device=device)
    bf16, f32 = reference(model, ids, len(tokens))
    ours = torch.from_numpy(np.fromfile(logits_path, dtype=np.float32)).reshape(len(tokens), -1)
    return compare(ours.to(device), bf16, f32, tokens)


def main() -> int:
    checkpoint, run_path, logits_path = sys.argv[1:4]
    run = json.load(open(run_path))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).cuda().eval()
    result = gate(model, run["prompt"], run["tokens"], logits_path)
    print(json.dumps(result))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
