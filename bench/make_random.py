"""Writes a random bf16 checkpoint in Hugging Face form: make_random.py SHAPE DIR [--seed N].

Needs torch and safetensors. Gains are near 1 and no bias is zero, so that a dropped one shows.
"""
import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file
from shapes import SHAPES


def tensors(c: dict):
    h, d = c["hidden_size"], c["head_dim"]
    q, kv, f = c["num_attention_heads"] * d, c["num_key_value_heads"] * d, c["intermediate_size"]
    yield "model.embed_tokens.weight", (c["vocab_size"], h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (h,)
        yield p + "post_attention_layernorm.weight", (h,)
        yield p + "self_attn.q_proj.weight", (q, h)
        yield p + "self_attn.k_proj.weight", (kv, h)
        yield p + "self_attn.v_proj.weight", (kv, h)
        yield p + "self_attn.o_proj.weight", (h, q)
        if c["model_type"] == "qwen3":
            yield p + "self_attn.q_norm.weight", (d,)
            yield p + "self_attn.k_norm.weight", (d,)
        yield p + "mlp.gate_proj.weight", (f, h)
        yield p + "mlp.up_proj.weight", (f, h)
        yield p + "mlp.down_proj.weight", (h, f)
    yield "model.norm.weight", (h,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], h)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    config = SHAPES[args.shape]
    args.dir.mkdir(parents=True, exist_ok=True)
    (args.dir / "config.json").write_text(json.dumps(config, indent=2))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(args.seed)
    index, shard, shard_bytes, number = {}, {}, 0, 1

    def flush() -> None:
        nonlocal shard, shard_bytes, number
        if shard:
            save_file(shard, args.dir / f"model-{number:05d}.safetensors", {"format": "pt"})
            index.update({name: f"model-{number:05d}.safetensors" for name in shard})
            shard, shard_bytes, number = {}, 0, number + 1

    for name, size in tensors(config):
        t = torch.randn(size, generator=generator, device=device, dtype=torch.float32)
        t = 1 + 0.1 * t if len(size) == 1 else t * size[1] ** -0.5
        shard[name] = t.to(torch.bfloat16).cpu()
        shard_bytes += 2 * t.numel()
        if shard_bytes > 4 << 30:
            flush()
    flush()
    total = {"total_size": 0}
    (args.dir / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": total, "weight_map": index}))


if __name__ == "__main__":
    main()
