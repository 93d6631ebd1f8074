"""Writes goldens.json: what Hugging Face transformers makes of the checkpoint
in this folder, for three prompts.

    python3 make_goldens.py [CHECKPOINT_DIR]

For each prompt: 200 greedy tokens computed in float32 from the bf16 weights
(eager attention, on the CPU), with the gap between the two best logits at
every step; the same 200 tokens computed in bf16 (on the GPU when there is
one), with the step at which they first differ; and the float32 logits of the
prompt's last token. Decoding does not stop at the end-of-sequence token.
"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["In the beginning", "Psalm 23\nThe LORD is my shepherd;", "And Jesus answered and said unto them,"]
STEPS = 200


@torch.no_grad()
def greedy(model, prompt):
    device = next(model.parameters()).device
    out = model(input_ids=torch.tensor([prompt], device=device), use_cache=True)
    first, ids, gaps = out.logits[0, -1].float().cpu(), [], []
    while True:
        best = out.logits[0, -1].float().topk(2)
        ids.append(int(out.logits[0, -1].float().argmax()))
        gaps.append(float(f"{(best.values[0] - best.values[1]).item():.7g}"))
        if len(ids) == STEPS:
            return first, ids, gaps
        out = model(input_ids=torch.tensor([[ids[-1]]], device=device), past_key_values=out.past_key_values,
                    use_cache=True)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    tok = AutoTokenizer.from_pretrained(folder)
    load = lambda dtype: AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    full, half = load(torch.float32), load(torch.bfloat16).to(device)
    prompts = []
    for text in PROMPTS:
        ids = tok(text).input_ids
        logits, chosen, gaps = greedy(full, ids)
        _, half_chosen, _ = greedy(half, ids)
        differ = next((i for i in range(STEPS) if chosen[i] != half_chosen[i]), None)
        prompts.append(dict(
            prompt=text, promptIds=ids, greedyIds=chosen, greedyText=tok.decode(chosen, skip_special_tokens=False),
            topGaps=gaps, bf16GreedyIds=half_chosen, bf16GreedyText=tok.decode(half_chosen, skip_special_tokens=False),
            bf16FirstDifference=differ, lastPromptLogits=[float(f"{x:.7g}") for x in logits.tolist()],
        ))
        print(f"{text!r}: smallest gap {min(gaps):.4g}, bf16 differs first at {differ}\n{prompts[-1]['greedyText']}",
              flush=True)
    head = dict(
        made="float32 from bf16 weights", attention="eager", transformersVersion=transformers.__version__,
        torchVersion=torch.__version__, bf16Device="cpu" if device == "cpu" else torch.cuda.get_device_name(),
    )
    with open(os.path.join(folder, "goldens.json"), "w") as f:
        rows = ",\n".join("    {\n" + ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}" for k, v in p.items())
                          + "\n    }" for p in prompts)
        f.write("{\n" + "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
                + f'  "prompts": [\n{rows}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
