"""Shapes of public models, as config.json contents. Weights are random: only sizes matter."""

LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=128256, hidden_act="silu",
    rms_norm_eps=1e-5, max_position_embeddings=131072, attention_bias=False, mlp_bias=False,
    bos_token_id=128000, eos_token_id=128001, torch_dtype="bfloat16", rope_theta=500000.0,
    rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                      original_max_position_embeddings=8192),
)
QWEN3 = dict(
    architectures=["Qwen3ForCausalLM"], model_type="qwen3", vocab_size=151936, hidden_act="silu",
    rms_norm_eps=1e-6, max_position_embeddings=40960, attention_bias=False, head_dim=128,
    bos_token_id=151643, eos_token_id=151645, torch_dtype="bfloat16", rope_theta=1000000.0,
    use_sliding_window=False,
)

SHAPES = {
    "llama-3.2-1b": LLAMA | dict(hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
                                 num_key_value_heads=8, head_dim=64, intermediate_size=8192,
                                 tie_word_embeddings=True),
    "llama-3.2-3b": LLAMA | dict(hidden_size=3072, num_hidden_layers=28, num_attention_heads=24,
                                 num_key_value_heads=8, head_dim=128, intermediate_size=8192,
                                 tie_word_embeddings=True),
    "qwen3-0.6b": QWEN3 | dict(hidden_size=1024, num_hidden_layers=28, num_attention_heads=16,
                               num_key_value_heads=8, intermediate_size=3072,
                               tie_word_embeddings=True),
    "qwen3-1.7b": QWEN3 | dict(hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
                               num_key_value_heads=8, intermediate_size=6144,
                               tie_word_embeddings=True),
    "qwen3-8b": QWEN3 | dict(hidden_size=4096, num_hidden_layers=36, num_attention_heads=32,
                             num_key_value_heads=8, intermediate_size=12288,
                             tie_word_embeddings=False),
}


def streamed_bytes(c: dict) -> int:
    """Bytes of bf16 weights that one decoded token must read, embeddings looked up not counted."""
    d = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    h, q, kv = c["hidden_size"], c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    layer = h * (q + 2 * kv) + q * h + 3 * h * c["intermediate_size"]
    return 2 * (c["num_hidden_layers"] * layer + h * c["vocab_size"])
