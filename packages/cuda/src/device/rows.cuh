// Small ops on activations: lookups, norms, softmax, RoPE and expressions, when no pass has folded
// them into a neighbour. A task covers a column range of every row.

// Rows of a value: the step's tokens, or one.
template <class C> MPK_DEVICE u32 row_count(const Context& c) { return C::kRows == 1 ? 1 : c.tokens; }

// Columns [tileLo * kTile, tileHi * kTile) of every row through C::element(c, ops, row, column).
template <class C> MPK_DEVICE void run_elements(Context& c, const u32* in) {
  //flags: if constexpr (C::kFlagged) { if (c.tokens == 1) return run_elements_of_one<C>(c, in); }
  const u32* ops = operands(in);
  begin_task(c, in);
  const u32 lo = in[kWordTileLo] * C::kTile;
  const u32 end = in[kWordTileHi] * C::kTile, hi = end < C::kN ? end : C::kN;
  const u32 rows = row_count<C>(c), width = hi - lo;
  // With many rows all loads of a batch, then its stores: the compiler cannot know them apart.
  constexpr u32 kBatch = kMaxTokens > 8 ? 8 : 1;
  for (u32 base = c.thread; base < rows * width; base += kBatch * kConsumerThreads) {
    float values[kBatch];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 e = base + i * kConsumerThreads, there = e < rows * width ? e : base;
      values[i] = C::element(c, ops, there / width, lo + there % width);
    }
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 e = base + i * kConsumerThreads;
      if (e >= rows * width) break;
      store_output<C>(c, ops, e / width, lo + e % width, values[i]);
    }
  }
  end_task(c, in);
}

// Runs of kWidth columns, one warp a run: tile i is run i of every row.
// C::kKind: 1 rms norm, 2 layer norm, 3 softmax.
template <class C> MPK_DEVICE void run_row_op(Context& c, const u32* in) {
  const u32* ops = operands(in);
  begin_task(c, in);
  const u32 lo = in[kWordTileLo], runs = in[kWordTileHi] - lo, rows = row_count<C>(c);
  const float inverse = 1.0f / static_cast<float>(C::kWidth);
  for (u32 item = c.warp; item < rows * runs; item += kConsumerWarps) {
    const u32 row = item / runs, column = (lo + item % runs) * C::kWidth;
    const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]) +
                             static_cast<u64>(row + C::first_row(c)) * C::kXStride + column;
    typename C::Out* out = in_scratch<typename C::Out>(c, ops[C::kOutOperand]) +
                           static_cast<u64>(row) * C::kOutStride + column;
    float shift = 0.0f, sum = 0.0f;
    if (C::kKind == 2) {
      for (u32 i = c.lane; i < C::kWidth; i += 32) shift += load_one(x + i);
      shift = warp_sum(shift) * inverse;
    } else if (C::kKind == 3) {
      shift = -3.4e38f;
      for (u32 i = c.lane; i < C::kWidth; i += 32) shift = m_max(shift, load_one(x + i));
      shift = warp_max(shift);
    }
    for (u32 i = c.lane; i < C::kWidth; i += 32) {
      float d = load_one(x + i) - shift;
      sum += C::kKind == 3 ? m_exp(d) : d * d;
    }
    sum = warp_sum(sum);
    float scale = C::kKind == 3 ? 1.0f / sum : m_rsqrt(sum * inverse + C::kEps);
    for (u32 i = c.lane; i < C::kWidth; i += 32) {
      float d = load_one(x + i) - shift;
      store_one(out + i, C::finish(c, ops, i, (C::kKind == 3 ? m_exp(d) : d) * scale));
    }
  }
  end_task(c, in);
}

// RoPE of one head of every token.
template <class C> MPK_DEVICE void run_rope(Context& c, const u32* in) {
  const u32* ops = operands(in);
  begin_task(c, in);
  const u32 lo = in[kWordTileLo], heads = in[kWordTileHi] - lo;
  constexpr u32 kHalf = C::kD / 2;
  for (u32 e = c.thread; e < c.tokens * heads * kHalf; e += kConsumerThreads) {
    u32 d = e % kHalf, head = lo + e / kHalf % heads, token = e / (kHalf * heads);
    const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]) +
                             static_cast<u64>(token) * C::kXStride + head * C::kD + d;
    float* out = in_scratch<float>(c, ops[C::kOutOperand]) +
                 static_cast<u64>(token) * C::kOutStride + head * C::kD + d;
    float angle = static_cast<float>(c.position + token) * C::frequency(d);
    float sine, cosine;
    m_sincos(angle, sine, cosine);
    float low = load_one(x), high = load_one(x + kHalf);
    out[0] = low * cosine - high * sine;
    out[kHalf] = high * cosine + low * sine;
  }
  end_task(c, in);
}
