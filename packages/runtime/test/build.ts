/** @file Small safetensors files and tokenizers for the tests. */
import { writeFileSync } from "node:fs";

export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A safetensors file's bytes; `edit` may spoil the header before it is written. */
export function safetensorsBytes(
  tensors: Readonly<Record<string, TestTensor>>,
  edit: (header: Record<string, unknown>) => unknown = (header) => header,
): Uint8Array {
  let offset = 0;
  const entries = Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => {
    const data_offsets = [offset, (offset += bytes.length)];
    return [name, { dtype, shape, data_offsets }] as const;
  });
  // fromEntries makes even `__proto__` a plain key.
  const text = new TextEncoder().encode(JSON.stringify(edit(Object.fromEntries(entries))));
  const out = new Uint8Array(8 + text.length + offset);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  let at = 8 + text.length;
  for (const { bytes } of Object.values(tensors)) {
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}

export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TestTensor>>,
  edit?: (header: Record<string, unknown>) => unknown,
): string {
  writeFileSync(path, safetensorsBytes(tensors, edit));
  return path;
}

/** GPT-2's map from bytes to printable characters, as byte-level tokenizers use it. */
function byteAlphabet(): readonly string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    return String.fromCodePoint(printable ? byte : next++);
  });
}

/** A byte-level BPE tokenizer whose tokens are the 256 bytes, a merge and a special token. */
export function byteLevelTokenizer(): object {
  const alphabet = byteAlphabet();
  const vocab: Record<string, number> = {};
  alphabet.forEach((character, byte) => (vocab[character] = byte));
  vocab["th"] = 256;
  return {
    version: "1.0",
    added_tokens: [
      {
        id: 257, content: "<eos>", single_word: false, lstrip: false, rstrip: false,
        normalized: false, special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: ["t h"], unk_token: null, byte_fallback: false },
  };
}

/** A Llama-2-like tokenizer: metaspace words, unknown characters as `<0xNN>` byte tokens. */
export function byteFallbackTokenizer(): object {
  const vocab: Record<string, number> = { "<unk>": 0 };
  for (let byte = 0; byte < 256; byte++) {
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`] = byte + 1;
  }
  for (const piece of ["▁", "a", "b", "c"]) vocab[piece] = Object.keys(vocab).length;
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE", vocab, merges: [], unk_token: "<unk>", fuse_unk: true, byte_fallback: true,
    },
  };
}
