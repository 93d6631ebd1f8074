"""Shapes of public models, as config.json contents. Weights are random: only sizes matter."""
import json
import pathlib

path = pathlib.Path(__file__).parent.parent / "packages" / "models" / "src" / "shapes.json"
SHAPES = {name: shape["config"] for name, shape in json.loads(path.read_text()).items()}


def streamed_bytes(c: dict) -> int:
    """Bytes of bf16 weights that one decoded token must read, embeddings looked up not counted."""
    d = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    h, q, kv = c["hidden_size"], c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    layer = h * (q + 2 * kv) + q * h + 3 * h * c["intermediate_size"]
    return 2 * (c["num_hidden_layers"] * layer + h * c["vocab_size"])
