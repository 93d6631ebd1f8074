"""Writes a random bf16 checkpoint in Hugging Face form: make_random.py CONFIG|SHAPE DIR [--seed N].

The weights are those that `mpk bench` makes on the GPU from the same seed (random_weights.py). Needs
torch, transformers (for the tensors' names and shapes) and safetensors.
"""
import argparse
import json
import pathlib

import torch
from random_weights import make
from safetensors.torch import save_file
from shapes import SHAPES
from transformers import AutoConfig, AutoModelForCausalLM

SHARD_BYTES = 4 << 30


def shapes_of(folder: pathlib.Path) -> dict:
    """Names and shapes as transformers saves them: tied tensors once."""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a config.json, a folder with one, or one of: " +
                        ", ".join(SHAPES))
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    path = pathlib.Path(args.config)
    if path.is_dir():
        path /= "config.json"
    text = path.read_text() if path.exists() else json.dumps(SHAPES[args.config], indent=1)
    args.dir.mkdir(parents=True, exist_ok=True)
    (args.dir / "config.json").write_text(text)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    index, shard, shard_bytes, number = {}, {}, 0, 1

    def flush() -> None:
        nonlocal shard, shard_bytes, number
        if shard:
            name = f"model-{number:05d}.safetensors"
            save_file(shard, args.dir / name, {"format": "pt"})
            index.update({tensor: name for tensor in shard})
            shard, shard_bytes, number = {}, 0, number + 1

    for name, shape in shapes_of(args.dir).items():
        shard[name] = make(torch, name, shape, args.seed, device).cpu()
        shard_bytes += 2 * shard[name].numel()
        if shard_bytes > SHARD_BYTES:
            flush()
    flush()
    (args.dir / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 0}, "weight_map": index}))


if __name__ == "__main__":
    main()
