"""PyTorch's best single-stream decode: torch_baseline.py CHECKPOINT [--context 64] [--tokens 128]

One step = embedding to argmax with a static KV cache, q/k/v and gate/up merged, torch.compile, the
whole step replayed as one CUDA graph. Prints JSON: milliseconds a token (median over the run, CUDA
events around each replay), the tokens, and the read bandwidth of a large sum in the same process.
Needs torch, safetensors.
"""
import argparse
import contextlib
import glob
import json
import statistics

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def load(checkpoint: str) -> dict:
    weights = {}
    for path in sorted(glob.glob(f"{checkpoint}/*.safetensors")):
        weights.update(load_file(path, device="cuda"))
    return weights


def frequencies(c: dict, d: int) -> torch.Tensor:
    inv = 1.0 / c["rope_theta"] ** (torch.arange(0, d, 2, device="cuda").float() / d)
    s = c.get("rope_scaling")
    if not s:
        return inv
    low = s["original_max_position_embeddings"] / s["low_freq_factor"]
    high = s["original_max_position_embeddings"] / s["high_freq_factor"]
    wave = 2 * torch.pi / inv
    smooth = (s["original_max_position_embeddings"] / wave - s["low_freq_factor"]) / (
        s["high_freq_factor"] - s["low_freq_factor"])
    mixed = (1 - smooth) * inv / s["factor"] + smooth * inv
    return torch.where(wave > low, inv / s["factor"], torch.where(wave < high, inv, mixed))


class Model:
    def __init__(self, c: dict, w: dict, slots: int):
        self.c, self.d = c, c["head_dim"]
        self.h, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.embed = w["model.embed_tokens.weight"]
        self.head = self.embed if c["tie_word_embeddings"] else w["lm_head.weight"]
        self.norm = w["model.norm.weight"]
        self.layers = []
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            g = lambda n: w.pop(p + n + ".weight")  # what is merged is not kept twice
            self.layers.append(dict(
                n1=g("input_layernorm"), n2=g("post_attention_layernorm"),
                qkv=torch.cat([g(f"self_attn.{x}_proj") for x in "qkv"]),
                o=g("self_attn.o_proj"), down=g("mlp.down_proj"),
                gu=torch.cat([g("mlp.gate_proj"), g("mlp.up_proj")]),
                qn=w.get(p + "self_attn.q_norm.weight"), kn=w.get(p + "self_attn.k_norm.weight"),
                k=torch.zeros(1, self.kv, slots, self.d, device="cuda", dtype=torch.bfloat16),
                v=torch.zeros(1, self.kv, slots, self.d, device="cuda", dtype=torch.bfloat16)))
        t = torch.outer(torch.arange(slots, device="cuda").float(), frequencies(c, self.d))
        self.cos, self.sin = t.cos().repeat(1, 2), t.sin().repeat(1, 2)
        self.mask = torch.ones(slots, slots, device="cuda", dtype=torch.bool).tril()

    def rope(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return (x * cos + torch.cat((-b, a), -1) * sin).to(torch.bfloat16)

    def attend(self, q, k, v, mask):
        """Of one query a head. Short contexts: as fused as PyTorch has it. Long ones: the heads that share
        keys in one product, since the fused one copies keys and values for each of them."""
        if k.shape[2] <= 1024:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        grouped = q.view(1, self.kv, -1, self.d) * self.d ** -0.5
        scores = (grouped @ k.transpose(2, 3)).float().masked_fill(~mask, float("-inf"))
        return (scores.softmax(-1).to(v.dtype) @ v).view(1, self.h, 1, self.d)

    def step(self, token, pos):
        c, eps = self.c, self.c["rms_norm_eps"]
        x = F.embedding(token, self.embed)
        cos, sin, mask = self.cos[pos], self.sin[pos], self.mask[pos][None, None]
        for l in self.layers:
            y = F.rms_norm(x, (x.shape[-1],), l["n1"], eps)
            q, k, v = F.linear(y, l["qkv"]).split(
                [self.h * self.d, self.kv * self.d, self.kv * self.d], -1)
            q, k, v = (t.view(1, 1, -1, self.d).transpose(1, 2) for t in (q, k, v))
            if l["qn"] is not None:
                q, k = F.rms_norm(q, (self.d,), l["qn"], eps), F.rms_norm(k, (self.d,), l["kn"], eps)
            q, k = self.rope(q, cos, sin), self.rope(k, cos, sin)
            l["k"].index_copy_(2, pos, k)
            l["v"].index_copy_(2, pos, v)
            a = self.attend(q, l["k"], l["v"], mask)
            x = x + F.linear(a.transpose(1, 2).reshape(1, -1), l["o"])
            g, u = F.linear(F.rms_norm(x, (x.shape[-1],), l["n2"], eps), l["gu"]).chunk(2, -1)
            x = x + F.linear(F.silu(g) * u, l["down"])
        logits = F.linear(F.rms_norm(x, (x.shape[-1],), self.norm, eps), self.head)
        return logits.argmax(-1), pos + 1


def read_bandwidth() -> float:
    x = torch.ones(4 << 30, device="cuda", dtype=torch.bfloat16).view(torch.int32)
    times = []
    for _ in range(12):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record(); x.max(); b.record(); b.synchronize()
        times.append(a.elapsed_time(b))
    return x.numel() * 4 / (min(times) * 1e-3)


def complete(config: dict) -> dict:
    config = dict(config)
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return config


def time_step(config: dict, weights: dict, context: int, slots: int, tokens: int = 128,
              shared=contextlib.nullcontext, alone=contextlib.nullcontext) -> float:
    """Milliseconds a token: the best of three runs' medians. Takes the weights out of the dict. `shared`
    and `alone` give contexts for what may run beside others on the GPU and for what is timed."""
    biases = [name for name in weights if name.endswith(".bias")]
    if biases:
        raise SystemExit(f"models with biases are not covered: {biases[0]}")
    with torch.no_grad():
        with shared():
            model = Model(config, weights, slots)
            step = torch.compile(model.step, fullgraph=True, dynamic=False)
            token = torch.tensor([1], device="cuda")
            pos = torch.tensor([context], device="cuda")
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(3):
                    step(token, pos)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                a, b = step(token, pos)
                token.copy_(a)
                pos.copy_(b)
        with alone():
            best = []
            for _ in range(3):
                token.fill_(1)
                pos.fill_(context)
                events = [torch.cuda.Event(enable_timing=True) for _ in range(tokens + 1)]
                events[0].record()
                for event in events[1:]:
                    graph.replay()
                    event.record()
                torch.cuda.synchronize()
                best.append(statistics.median(
                    x.elapsed_time(y) for x, y in zip(events, events[1:])))
    return min(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--slots", type=int, default=256)
    args = parser.parse_args()
    config = complete(json.load(open(f"{args.checkpoint}/config.json")))
    bandwidth = read_bandwidth()
    torch.cuda.empty_cache()
    ms = time_step(config, load(args.checkpoint), args.context, args.slots, args.tokens)
    print(json.dumps({"msPerToken": ms, "readBytesPerSecond": bandwidth, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
