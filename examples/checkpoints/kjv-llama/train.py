"""Trains the small Llama checkpoint beside this script on the King James Bible.

The text comes from the Debian packages bible-kjv and bible-kjv-text:

    apt-get install bible-kjv bible-kjv-text
    bible -f 'Gen1:1-Rev22:21' > kjv.txt

which writes 31102 lines such as "Ge1:1 In the beginning God created ...".
Then, on a machine with an NVIDIA GPU, torch, transformers and tokenizers:

    python3 train.py kjv.txt OUTPUT_DIR [--budget SECONDS]

A document is a chapter: "<|bos|>", a heading line such as "Genesis 1", one
line a verse without its number, "<|eos|>". Every training window is "<|bos|>"
and 511 tokens from the start of a random line on, so the model takes a prompt
from the middle of a chapter as well as a heading. Every twentieth chapter is
held out; the held-out loss picks the weights that are kept. Dropout acts on
the embeddings, on the attention's weights and on what each block adds to the
residual stream; it exists in training only, so the result is a plain
LlamaForCausalLM, saved in bf16.

With --budget the recipes below are shortened, each by the same factor, if
they would take longer than that many seconds.
"""

import argparse
import gzip
import json
import math
import os
import re
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

BOS, EOS = "<|bos|>", "<|eos|>"
VOCAB, WINDOW, BATCH = 2048, 512, 64
CONFIG = dict(
    vocab_size=VOCAB, hidden_size=256, intermediate_size=640, num_hidden_layers=5, num_attention_heads=8,
    num_key_value_heads=4, head_dim=32, max_position_embeddings=WINDOW, rms_norm_eps=1e-5,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0), tie_word_embeddings=True,
    bos_token_id=0, eos_token_id=1, initializer_range=0.02,
)
RECIPES = [
    dict(steps=2500, dropout=0.10, lr=3e-3, seed=1),
    dict(steps=6000, dropout=0.20, lr=2e-3, seed=2),
]
WARMUP, LAST_LR, WEIGHT_DECAY, BETAS, CLIP = 100, 0.02, 0.1, (0.9, 0.98), 1.0
EVAL_EVERY = 100

BOOKS = dict(zip(
    "Ge Exo Lev Num Deu Josh Jdgs Ruth 1Sm 2Sm 1Ki 2Ki 1Chr 2Chr Ezra Neh Est Job Psa Prv Eccl SSol Isa Jer Lam "
    "Eze Dan Hos Joel Amos Obad Jonah Mic Nahum Hab Zep Hag Zec Mal Mat Mark Luke John Acts Rom 1Cor 2Cor Gal Eph "
    "Phi Col 1Th 2Th 1Tim 2Tim Titus Phmn Heb Jas 1Pet 2Pet 1Jn 2Jn 3Jn Jude Rev".split(),
    "Genesis,Exodus,Leviticus,Numbers,Deuteronomy,Joshua,Judges,Ruth,1 Samuel,2 Samuel,1 Kings,2 Kings,"
    "1 Chronicles,2 Chronicles,Ezra,Nehemiah,Esther,Job,Psalm,Proverbs,Ecclesiastes,Song of Solomon,Isaiah,"
    "Jeremiah,Lamentations,Ezekiel,Daniel,Hosea,Joel,Amos,Obadiah,Jonah,Micah,Nahum,Habakkuk,Zephaniah,Haggai,"
    "Zechariah,Malachi,Matthew,Mark,Luke,John,Acts,Romans,1 Corinthians,2 Corinthians,Galatians,Ephesians,"
    "Philippians,Colossians,1 Thessalonians,2 Thessalonians,1 Timothy,2 Timothy,Titus,Philemon,Hebrews,James,"
    "1 Peter,2 Peter,1 John,2 John,3 John,Jude,Revelation".split(","),
))


def read_chapters(path):
    """A list of chapters, each a list of lines, the heading first."""
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    chapters, last = [], None
    with opened as f:
        for line in f:
            book, chapter, text = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):\d+ (.*\S)\s*", line).groups()
            if (book, chapter) != last:
                chapters.append([f"{BOOKS[book]} {chapter}\n"])
                last = (book, chapter)
            chapters[-1].append(text + "\n")
    return chapters


def train_tokenizer(lines):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    ))
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tok.token_to_id(BOS))]
    )
    assert (tok.token_to_id(BOS), tok.token_to_id(EOS), tok.get_vocab_size()) == (0, 1, VOCAB)
    return tok


def save_tokenizer(tok, out):
    PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token=BOS, eos_token=EOS, model_max_length=WINDOW, clean_up_tokenization_spaces=False
    ).save_pretrained(out)
    # The class name that transformers 4 and 5 both know.
    path = os.path.join(out, "tokenizer_config.json")
    with open(path) as f:
        config = json.load(f)
    config.pop("backend", None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    with open(path, "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


def stream_of(chapters, tok, device):
    """All chapters as one row of tokens, and where their lines start."""
    ids, starts = [], []
    for chapter in chapters:
        ids.append(0)
        for enc in tok.encode_batch(chapter, add_special_tokens=False):
            starts.append(len(ids))
            ids += enc.ids
        ids.append(1)
    return torch.tensor(ids, device=device), torch.tensor(starts, device=device)


def held_out_windows(chapters, tok, device):
    """Every token of the held-out chapters once, as a target, in windows that
    begin at the start of a line. Returns inputs, targets (-100: none) and the
    number of characters covered."""
    rows, characters = [], 0
    for chapter in chapters:
        row = []
        for text, enc in zip(chapter, tok.encode_batch(chapter, add_special_tokens=False)):
            if len(row) + len(enc.ids) > WINDOW - 1:
                rows.append(row)
                row = []
            row += enc.ids
            characters += len(text)
        rows.append(row + [1])
    inputs = torch.zeros(len(rows), WINDOW, dtype=torch.long)
    targets = torch.full((len(rows), WINDOW), -100)
    for i, row in enumerate(rows):
        inputs[i, 1 : len(row)] = torch.tensor(row[:-1])
        targets[i, : len(row)] = torch.tensor(row)
    return inputs.to(device), targets.to(device), characters


@torch.no_grad()
def held_out_loss(model, windows, autocast):
    inputs, targets, _ = windows
    model.eval()
    total = 0.0
    for x, y in zip(inputs.split(BATCH), targets.split(BATCH)):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            logits = model(input_ids=x, use_cache=False).logits
        total += F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), ignore_index=-100, reduction="sum").item()
    model.train()
    return total / (targets != -100).sum().item()


def add_dropout(model, p):
    drop = lambda module, args, out: F.dropout(out, p, module.training)
    model.model.embed_tokens.register_forward_hook(drop)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.down_proj.register_forward_hook(drop)


def train(recipe, steps, data, windows, device, log):
    stream, starts = data
    torch.manual_seed(recipe["seed"])
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attention_dropout=recipe["dropout"])).to(device).train()
    add_dropout(model, recipe["dropout"])
    decayed = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    opt = torch.optim.AdamW(
        [dict(params=decayed, weight_decay=WEIGHT_DECAY), dict(params=rest, weight_decay=0.0)],
        lr=recipe["lr"], betas=BETAS, fused=device == "cuda",
    )
    offsets = torch.arange(WINDOW, device=device)
    bos = torch.zeros(BATCH, 1, dtype=torch.long, device=device)
    best, best_state, curve, running = math.inf, None, [], torch.zeros((), device=device)
    begun = time.time()
    for step in range(steps):
        ramp = min(1.0, (step + 1) / WARMUP)
        falling = LAST_LR + (1 - LAST_LR) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in opt.param_groups:
            group["lr"] = recipe["lr"] * ramp * falling
        first = starts[torch.randint(len(starts), (BATCH, 1), device=device)]
        targets = stream[(first + offsets) % len(stream)]
        inputs = torch.cat([bos, targets[:, :-1]], dim=1)
        with torch.autocast(device, torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        opt.step()
        running += loss.detach()
        if (step + 1) % EVAL_EVERY == 0 or step + 1 == steps:
            held = held_out_loss(model, windows, True)
            trained = running.item() / ((step % EVAL_EVERY) + 1)
            running.zero_()
            curve.append([step + 1, round(trained, 4), round(held, 4)])
            if held < best:
                best, best_state = held, {k: v.detach().clone() for k, v in model.state_dict().items()}
            if len(curve) % 5 == 0 or step + 1 == steps:
                log(f"  step {step + 1} of {steps}, training loss {trained:.4f}, held-out loss {held:.4f}, "
                    f"{time.time() - begun:.1f} s")
    return best, best_state, curve


def seconds_a_step(data, windows, device):
    quiet = lambda _: None
    train(RECIPES[0], 10, data, windows, device, quiet)
    begun = time.time()
    train(RECIPES[0], 30, data, windows, device, quiet)
    return (time.time() - begun) / 30


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--budget", type=float)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    os.makedirs(args.out, exist_ok=True)
    log = lambda text: print(text, flush=True)

    chapters = read_chapters(args.text)
    held = [c for i, c in enumerate(chapters) if i % 20 == 10]
    kept = [c for i, c in enumerate(chapters) if i % 20 != 10]
    tok = train_tokenizer([line for c in kept for line in c])
    save_tokenizer(tok, args.out)
    data = stream_of(kept, tok, device)
    windows = held_out_windows(held, tok, device)
    held_tokens = (windows[1] != -100).sum().item()
    for c in chapters:
        text = "".join(c)
        assert tok.decode(tok.encode(text, add_special_tokens=False).ids) == text
    log(f"{len(kept)} chapters to train on, {len(data[0])} tokens; {len(held)} held out, {held_tokens} tokens")

    share = 1.0
    if args.budget:
        each = seconds_a_step(data, windows, device)
        share = min(1.0, args.budget / (each * sum(r["steps"] for r in RECIPES)))
        log(f"{each * 1000:.1f} ms a step")

    results = []
    for recipe in RECIPES:
        steps = max(1, int(recipe["steps"] * share))
        log(f"recipe {recipe}, {steps} steps ({steps * BATCH * WINDOW / len(data[0]):.0f} times the text)")
        begun = time.time()
        best, state, curve = train(recipe, steps, data, windows, device, log)
        results.append(dict(recipe={**recipe, "steps": steps}, best=best, state=state, curve=curve,
                            seconds=round(time.time() - begun, 1)))
    winner = min(results, key=lambda r: r["best"])

    # The model as it is used: bf16 weights, no dropout.
    config = LlamaConfig(**CONFIG, dtype="bfloat16", architectures=["LlamaForCausalLM"])
    config.save_pretrained(args.out)
    GenerationConfig(bos_token_id=0, eos_token_id=1, max_length=WINDOW).save_pretrained(args.out)
    weights = {k: v.to(torch.bfloat16).cpu().contiguous() for k, v in winner["state"].items() if k != "lm_head.weight"}
    save_file(weights, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    for file in os.listdir(args.out):
        os.chmod(os.path.join(args.out, file), 0o644)
    model, info = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    model = model.to(device).eval()
    final = held_out_loss(model, windows, False)
    model.eval()
    bits = final * held_tokens / windows[2] / math.log(2)
    parameters = sum(p.numel() for p in model.parameters())
    log(f"kept recipe {winner['recipe']}: {parameters} parameters, held-out loss of the bf16 weights {final:.4f} nats "
        f"a token, {bits:.4f} bits a character")

    samples = []
    fast = AutoTokenizer.from_pretrained(args.out)
    for i, prompt in enumerate(["Psalm 151\n", "And Moses said", "In those days there was a king", "Romans 17\n"]):
        torch.manual_seed(i)
        ids = fast(prompt, return_tensors="pt").input_ids.to(device)
        assert ids[0, 0] == 0 and fast.decode(ids[0], skip_special_tokens=True) == prompt
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.8, top_k=0,
                             top_p=1.0, max_new_tokens=150, pad_token_id=1)
        samples.append(dict(prompt=prompt, seed=i, temperature=0.8, text=fast.decode(out[0], skip_special_tokens=True)))
        log(f"--- {prompt!r}\n{samples[-1]['text']}")

    record = dict(
        parameters=parameters, trainTokens=len(data[0]), heldOutTokens=held_tokens, heldOutCharacters=windows[2],
        heldOutLoss=round(final, 4), heldOutBitsPerCharacter=round(bits, 4), kept=results.index(winner),
        runs=[dict(recipe=r["recipe"], seconds=r["seconds"], bestHeldOutLoss=round(r["best"], 4),
                   curveStepTrainHeldOut=r["curve"]) for r in results],
        samples=samples, torchVersion=torch.__version__, transformersVersion=transformers.__version__,
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
    )
    with open(os.path.join(args.out, "training.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in record.items()) + "\n}\n")


if __name__ == "__main__":
    main()
