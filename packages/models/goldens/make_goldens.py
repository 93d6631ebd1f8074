"""Makes the golden files beside this script with Hugging Face transformers.

Each folder is a tiny random checkpoint in the Hugging Face layout plus what
transformers computes from it:

  config.json, model.safetensors   the checkpoint (bf16 weights; one case is
                                   sharded over two files with an index)
  golden.json                      the prompt, the greedy continuation, the gap
                                   between the two best logits at every step
  golden.safetensors               prompt_logits      [n, vocab]   float32
                                   step_logits        [24, vocab]  float32
                                   bf16_prompt_logits [n, vocab]   bfloat16

The float32 numbers come from the bf16 weights widened to float32 and eager
attention on the CPU; the bf16 numbers come from transformers' own bf16 run
(on a GPU when there is one). Everything is computed by loading the folder as
it is written here, so config.json is part of what is tested: some cases are
written the way transformers 4 saved them (`rope_theta`, `rope_scaling`,
`torch_dtype`), the others as transformers 5 saves them (`rope_parameters`,
`dtype`).

hf-defaults.json holds the defaults of the config classes, and what they make
of some partial configs.

    python3 make_goldens.py [--out DIR] [--only NAME ...] [--find-seeds N]

--find-seeds N tries N seeds for each case and prints the best ones: those
whose smallest gap between the two best logits is large against the spread of
the logits, so that a correct bf16 implementation finds the same tokens.
"""

import argparse
import json
import os
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

STEPS = 24
CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
}

# Old-style config fields are written to config.json just as they stand here;
# new-style ones are what transformers saves for them. The seeds are from
# --find-seeds.
CASES = {
    "llama2-mha": dict(
        type="llama", style="old", seed=6, prompt=20,
        config=dict(
            hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=6, vocab_size=509, max_position_embeddings=64, rms_norm_eps=1e-5,
            hidden_act="silu", initializer_range=0.02, pretraining_tp=1, rope_scaling=None,
            tie_word_embeddings=False, use_cache=True, bos_token_id=1, eos_token_id=2,
        ),
    ),
    "llama3-gqa": dict(
        type="llama", style="old", seed=37, prompt=21,
        config=dict(
            hidden_size=96, intermediate_size=144, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=32, vocab_size=512, max_position_embeddings=256,
            rms_norm_eps=1e-5, hidden_act="silu", rope_theta=10000.0,
            rope_scaling=dict(
                factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32, rope_type="llama3",
            ),
            attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
            bos_token_id=500, eos_token_id=[501, 502],
        ),
    ),
    # Only what has no usable default: key/value heads, rms_norm_eps,
    # rope_theta, tying and biases are all left out.
    "llama-linear": dict(
        type="llama", style="old", seed=33, prompt=19,
        config=dict(
            hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4,
            vocab_size=384, max_position_embeddings=64, rope_scaling=dict(type="linear", factor=2.0),
        ),
    ),
    "llama-mqa-bias": dict(
        type="llama", style="new", seed=37, prompt=20,
        config=dict(
            hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=1, vocab_size=320, max_position_embeddings=128, rms_norm_eps=1e-5,
            attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
            rope_parameters=dict(
                rope_type="llama3", rope_theta=20000.0, factor=4.0, low_freq_factor=1.0,
                high_freq_factor=3.0, original_max_position_embeddings=24,
            ),
        ),
    ),
    # sliding_window is given but not used: use_sliding_window is false.
    "qwen2": dict(
        type="qwen2", style="old", seed=37, prompt=20,
        config=dict(
            hidden_size=96, intermediate_size=144, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, vocab_size=512, max_position_embeddings=128, rms_norm_eps=1e-6,
            hidden_act="silu", rope_theta=1000000.0, attention_dropout=0.0, initializer_range=0.02,
            use_sliding_window=False, sliding_window=8, max_window_layers=1, tie_word_embeddings=True,
            use_cache=True, bos_token_id=500, eos_token_id=501,
        ),
    ),
    # Layer 0 sees everything, layers 1 and 2 only 8 positions.
    "qwen2-untied-window": dict(
        type="qwen2", style="old", seed=3, prompt=21,
        config=dict(
            hidden_size=80, intermediate_size=128, num_hidden_layers=3, num_attention_heads=5,
            num_key_value_heads=5, vocab_size=400, max_position_embeddings=128, rms_norm_eps=1e-5,
            hidden_act="silu", rope_theta=10000.0, use_sliding_window=True, sliding_window=8,
            max_window_layers=1, tie_word_embeddings=False, bos_token_id=390, eos_token_id=391,
        ),
    ),
    "qwen3": dict(
        type="qwen3", style="old", seed=23, prompt=20,
        config=dict(
            hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, vocab_size=512, max_position_embeddings=128,
            rms_norm_eps=1e-6, hidden_act="silu", rope_theta=1000000, rope_scaling=None,
            attention_bias=False, attention_dropout=0.0, use_sliding_window=False, sliding_window=None,
            max_window_layers=2, tie_word_embeddings=True, bos_token_id=500, eos_token_id=501,
        ),
    ),
    "qwen3-untied": dict(
        type="qwen3", style="new", seed=46, prompt=17, shards=2,
        config=dict(
            hidden_size=80, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, vocab_size=401, max_position_embeddings=128,
            rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=50000.0),
            tie_word_embeddings=False,
        ),
    ),
    # layer_types as given, not what max_window_layers would make of it; biases
    # on q, k, v and o.
    "qwen3-layer-types": dict(
        type="qwen3", style="new", seed=55, prompt=20,
        config=dict(
            hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=1, head_dim=16, vocab_size=352, max_position_embeddings=128,
            rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
            attention_bias=True, use_sliding_window=True, sliding_window=6, max_window_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            tie_word_embeddings=True,
        ),
    ),
    "mistral": dict(
        type="mistral", style="old", seed=7, prompt=20,
        config=dict(
            hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=3, vocab_size=320, max_position_embeddings=128, rms_norm_eps=1e-5,
            hidden_act="silu", rope_theta=10000.0, sliding_window=8, tie_word_embeddings=False,
            use_cache=True, bos_token_id=1, eos_token_id=2,
        ),
    ),
    "mistral-nowindow": dict(
        type="mistral", style="new", seed=15, prompt=18,
        config=dict(
            hidden_size=80, intermediate_size=144, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, vocab_size=384, max_position_embeddings=128,
            rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
            sliding_window=None, tie_word_embeddings=False,
        ),
    ),
}


def random_weights(model, seed):
    """Weights whose every part shows in the logits: gains around 1, biases not
    zero, queries and keys large enough that attention is far from uniform."""
    g = torch.Generator().manual_seed(seed)
    tied = model.config.tie_word_embeddings
    weights = {}
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        if name.endswith("norm.weight"):
            w = 0.7 + 0.6 * torch.rand(p.shape, generator=g)
            if "q_norm" in name or "k_norm" in name:
                w = 1.4 * w
        else:
            if name.endswith(".bias"):
                std = 0.3
            elif "embed_tokens" in name:
                std = 0.1 if tied else 0.3
            elif "q_proj" in name or "k_proj" in name:
                std = 0.16
            else:
                std = 0.12
            w = std * torch.randn(p.shape, generator=g)
        weights[name] = w.to(torch.bfloat16).contiguous()
    return weights


def random_prompt(case, seed):
    g = torch.Generator().manual_seed(1000 + seed)
    return torch.randint(3, case["config"]["vocab_size"] - 12, (case["prompt"],), generator=g).tolist()


def config_object(case):
    cls = CONFIGS[case["type"]]
    return cls.from_dict({**case["config"], "dtype": "bfloat16", "architectures": [ARCHITECTURES[case["type"]]]})


def write_checkpoint(case, folder, seed):
    os.makedirs(folder, exist_ok=True)
    if case["style"] == "new":
        config_object(case).save_pretrained(folder)
    else:
        fields = {
            "architectures": [ARCHITECTURES[case["type"]]],
            **case["config"],
            "model_type": case["type"],
            "torch_dtype": "bfloat16",
            "transformers_version": "4.46.0",
        }
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(dict(sorted(fields.items())), f, indent=2)
            f.write("\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    weights = random_weights(model, seed)
    shards = case.get("shards", 1)
    if shards == 1:
        save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    total = sum(w.numel() * w.element_size() for w in weights.values())
    parts, done = [{} for _ in range(shards)], 0
    for name, w in weights.items():
        parts[min(shards - 1, done * shards // total)][name] = w
        done += w.numel() * w.element_size()
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, os.path.join(folder, file), metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    index = {
        "metadata": {"total_parameters": sum(w.numel() for w in weights.values()), "total_size": total},
        "weight_map": dict(sorted(weight_map.items())),
    }
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump(index, f, indent=2)
        f.write("\n")


def load(folder, dtype, device):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info.get(kind), (folder, kind, info[kind])
    return model.eval().to(device)


@torch.no_grad()
def greedy(model, prompt, steps=STEPS):
    """Greedy decoding with the key/value cache and no stop at EOS; returns the
    prompt's logits, the logits of every step and the chosen tokens."""
    device = next(model.parameters()).device
    out = model(input_ids=torch.tensor([prompt], device=device), use_cache=True)
    prompt_logits = out.logits[0]
    row, rows, ids = prompt_logits[-1], [], []
    for i in range(steps):
        rows.append(row)
        ids.append(int(row.float().argmax()))
        if i + 1 < steps:
            out = model(
                input_ids=torch.tensor([[ids[-1]]], device=device), past_key_values=out.past_key_values, use_cache=True
            )
            row = out.logits[0, -1]
    return prompt_logits, torch.stack(rows), ids


def gaps(step_logits):
    best = step_logits.float().topk(2, dim=-1).values
    return (best[:, 0] - best[:, 1]).tolist()


def significant(x, digits=7):
    return float(f"{x:.{digits}g}")


def make_case(name, out, device):
    case = CASES[name]
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    write_checkpoint(case, folder, case["seed"])
    prompt = random_prompt(case, case["seed"])

    model = load(folder, torch.float32, "cpu")
    prompt_logits, step_logits, ids = greedy(model, prompt)
    checks = {}

    # The whole sequence at once, without a cache.
    with torch.no_grad():
        full = model(input_ids=torch.tensor([prompt + ids[:-1]]), use_cache=False).logits[0, len(prompt) - 1 :]
    checks["cacheVersusFullMaxAbs"] = significant((full - step_logits).abs().max().item(), 3)
    assert checks["cacheVersusFullMaxAbs"] < 1e-3

    # generate() picks the same tokens.
    generated = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0,
    )[0, len(prompt) :].tolist()
    stop = model.config.eos_token_id
    stop = stop if isinstance(stop, list) else [stop]
    upto = next((i + 1 for i, t in enumerate(ids) if t in stop), STEPS)
    assert generated[:upto] == ids[:upto], (generated, ids)

    # The config written the transformers 5 way says the same.
    with tempfile.TemporaryDirectory() as other:
        for file in os.listdir(folder):
            shutil.copy(os.path.join(folder, file), other)
        AutoConfig.from_pretrained(folder).save_pretrained(other)
        again = greedy(load(other, torch.float32, "cpu"), prompt, 1)[0]
    assert torch.equal(again, prompt_logits)

    if device != "cpu":
        gpu = greedy(load(folder, torch.float32, device), prompt)
        checks["gpuFloat32MaxAbs"] = significant((gpu[1].cpu() - step_logits).abs().max().item(), 3)
        assert gpu[2] == ids
    half = load(folder, torch.bfloat16, device)
    half_prompt, _, half_ids = greedy(half, prompt)
    checks["bf16PromptMaxAbs"] = significant((half_prompt.float().cpu() - prompt_logits).abs().max().item(), 3)

    save_file(
        {
            "prompt_logits": prompt_logits.contiguous(),
            "step_logits": step_logits.contiguous(),
            "bf16_prompt_logits": half_prompt.to(torch.bfloat16).cpu().contiguous(),
        },
        os.path.join(folder, "golden.safetensors"),
    )
    golden = {
        "name": name,
        "made": "float32 from bf16 weights",
        "attention": "eager",
        "configStyle": "transformers 4" if case["style"] == "old" else "transformers 5",
        "seed": case["seed"],
        "transformersVersion": transformers.__version__,
        "torchVersion": torch.__version__,
        "bf16Device": "cpu" if device == "cpu" else torch.cuda.get_device_name(),
        "promptIds": prompt,
        "greedyIds": ids,
        "topGaps": [significant(x) for x in gaps(step_logits)],
        "bf16GreedyIds": half_ids,
        "logitsStd": significant(step_logits.std().item(), 4),
        "checks": checks,
    }
    with open(os.path.join(folder, "golden.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n")
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(
        f"{name}: {size} bytes, {sum(p.numel() for p in model.parameters())} parameters, smallest gap "
        f"{min(golden['topGaps']):.4g} of std {golden['logitsStd']}, {len(set(ids))} distinct tokens, "
        f"bf16 same tokens: {half_ids == ids}, {checks}",
        flush=True,
    )


def find_seeds(name, count):
    case, found = CASES[name], []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(case, folder, seed)
            prompt = random_prompt(case, seed)
            _, steps, ids = greedy(load(folder, torch.float32, "cpu"), prompt)
            relative = min(gaps(steps)) / steps.std().item()
            if len(set(ids)) < 12 or relative < 0.02:
                continue
            half_ids = greedy(load(folder, torch.bfloat16, "cpu"), prompt)[2]
            if half_ids == ids:
                found.append((round(relative, 4), seed, len(set(ids))))
    print(name, sorted(found, reverse=True)[:5], flush=True)


def shown(config):
    skip = {"architectures", "id2label", "label2id", "problem_type", "return_dict", "output_hidden_states",
            "chunk_size_feed_forward", "is_encoder_decoder", "_name_or_path", "transformers_version",
            "output_attentions", "per_layer_config", "num_labels"}
    return {k: v for k, v in sorted(config.to_dict().items()) if k not in skip}


# (model type, fields given, fields to look at)
PROBES = [
    ("llama", dict(hidden_size=96, num_attention_heads=6), ["head_dim", "num_key_value_heads", "rope_parameters"]),
    ("llama", dict(hidden_size=96, num_attention_heads=6, head_dim=None), ["head_dim"]),
    ("llama", dict(hidden_size=100, num_attention_heads=6, head_dim=16), ["head_dim"]),
    ("llama", dict(rope_theta=500000.0, rope_scaling=None), ["rope_parameters"]),
    ("llama", dict(rope_theta=500000.0, rope_scaling=dict(type="linear", factor=2.0)), ["rope_parameters"]),
    ("llama", dict(rope_scaling=dict(type="linear", factor=2.0)), ["rope_parameters"]),
    ("llama", dict(rope_theta=5.0, rope_parameters=dict(rope_theta=7.0, rope_type="default")), ["rope_parameters"]),
    ("llama", dict(rope_theta=5.0, rope_parameters=dict(rope_type="default")), ["rope_parameters"]),
    ("llama", dict(rope_scaling=dict(rope_type="linear", factor=2.0), rope_parameters=dict(rope_theta=7.0)),
     ["rope_parameters"]),
    ("llama", dict(max_position_embeddings=77, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)), ["rope_parameters"]),
    ("llama", dict(max_position_embeddings=77, original_max_position_embeddings=33, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=44)), ["rope_parameters"]),
    ("llama", dict(sliding_window=8), ["sliding_window"]),
    ("qwen2", dict(hidden_size=96, num_attention_heads=6), ["head_dim", "num_key_value_heads", "rope_parameters"]),
    ("qwen2", dict(hidden_size=96, num_attention_heads=6, num_key_value_heads=None),
     ["head_dim", "num_key_value_heads"]),
    ("qwen2", dict(hidden_size=96, num_attention_heads=6, head_dim=32), ["head_dim"]),
    ("qwen2", dict(hidden_size=96, num_attention_heads=6, head_dim=None), ["head_dim"]),
    ("qwen2", dict(num_hidden_layers=4, sliding_window=8, max_window_layers=1), ["sliding_window", "layer_types"]),
    ("qwen2", dict(num_hidden_layers=4, use_sliding_window=True, sliding_window=8, max_window_layers=1),
     ["sliding_window", "layer_types"]),
    ("qwen2", dict(num_hidden_layers=4, use_sliding_window=True, sliding_window=8), ["sliding_window", "layer_types"]),
    ("qwen2", dict(num_hidden_layers=4, use_sliding_window=True, max_window_layers=1),
     ["sliding_window", "layer_types"]),
    ("qwen2", dict(num_hidden_layers=2, use_sliding_window=True, sliding_window=8, max_window_layers=0,
                   layer_types=["full_attention", "sliding_attention"]), ["sliding_window", "layer_types"]),
    ("qwen2", dict(num_hidden_layers=2, use_sliding_window=False, sliding_window=8,
                   layer_types=["full_attention", "sliding_attention"]), ["sliding_window", "layer_types"]),
    ("qwen3", dict(hidden_size=96, num_attention_heads=6), ["head_dim", "num_key_value_heads", "rope_parameters"]),
    ("qwen3", dict(hidden_size=96, num_attention_heads=6, head_dim=None), ["head_dim"]),
    ("qwen3", dict(num_hidden_layers=4, use_sliding_window=True, sliding_window=8, max_window_layers=2),
     ["sliding_window", "layer_types"]),
    ("mistral", dict(hidden_size=96, num_attention_heads=6), ["head_dim", "num_key_value_heads", "rope_parameters"]),
    ("mistral", dict(hidden_size=96, num_attention_heads=6, num_key_value_heads=None),
     ["num_key_value_heads"]),
    ("mistral", dict(sliding_window=None), ["sliding_window"]),
    ("mistral", dict(use_sliding_window=False, sliding_window=8), ["sliding_window"]),
]


def write_defaults(out):
    probes = []
    for kind, given, look in PROBES:
        probe = {"model_type": kind, "given": given}
        try:
            config = CONFIGS[kind].from_dict(json.loads(json.dumps(given)))
            probe["gives"] = {k: getattr(config, k, "(no such attribute)") for k in look}
        except Exception as e:  # what transformers refuses is worth recording too
            probe["error"] = f"{type(e).__name__}: {str(e).strip().splitlines()[0][:200]}"
        probes.append(probe)
    record = {
        "transformersVersion": transformers.__version__,
        "defaults": {c.__name__: shown(c()) for c in CONFIGS.values()},
        "probes": probes,
    }
    # One field or probe a line.
    classes = ",\n".join(
        f"    {json.dumps(c)}: {{\n" + ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}" for k, v in d.items()) + "\n    }"
        for c, d in record["defaults"].items()
    )
    lines = ",\n".join(f"    {json.dumps(p)}" for p in probes)
    with open(os.path.join(out, "hf-defaults.json"), "w") as f:
        f.write(
            f'{{\n  "transformersVersion": {json.dumps(record["transformersVersion"])},\n'
            f'  "defaults": {{\n{classes}\n  }},\n  "probes": [\n{lines}\n  ]\n}}\n'
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--find-seeds", type=int)
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = args.only or list(CASES)
    if args.find_seeds:
        for name in names:
            find_seeds(name, args.find_seeds)
        return
    os.makedirs(args.out, exist_ok=True)
    for name in names:
        make_case(name, args.out, device)
    if not args.only:
        write_defaults(args.out)


if __name__ == "__main__":
    main()
