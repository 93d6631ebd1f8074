// Sums of squares of blocks of columns, which scale what linears of many tokens multiply.

// Tile i: columns [i * kBlock, (i + 1) * kBlock) of every row, half a warp a row and block.
template <class C> MPK_DEVICE void run_block_squares(Context& c, const u32* in) {
  typedef typename C::X X;
  constexpr u32 kLanes = 16, kQuads = (C::kBlock + 3) / 4, kTurns = (kQuads + kLanes - 1) / kLanes;
  const u32* ops = operands(in);
  begin_task(c, in);
  const X* x = in_scratch<X>(c, ops[C::kXOperand]) + static_cast<u64>(C::first_row(c)) * C::kXStride;
  float* out = in_scratch<float>(c, ops[C::kOutOperand]);
  const u32 lo = in[kWordTileLo], tiles = in[kWordTileHi] - lo, items = row_count<C>(c) * tiles;
  for (u32 base = 0; base < items; base += kConsumerThreads / kLanes) {
    const u32 item = base + c.thread / kLanes, there = item < items ? item : 0;
    const u32 row = there / tiles, tile = lo + there % tiles;
    const u32 end = (tile + 1) * C::kBlock, last = end < C::kK ? end : C::kK;
    float sum = 0.0f;
#pragma unroll(kTurns < 4 ? kTurns : 4)
    for (u32 t = 0; t < kTurns; t++) {
      const u32 k = tile * C::kBlock + (t * kLanes + c.lane % kLanes) * 4;
      float v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      const X* from = x + static_cast<u64>(row) * C::kXStride + k;
      if (C::kVectorX) {
        if (k < last) load_four(from, v);
      } else {
        for (u32 i = 0; i < 4; i++) v[i] = k + i < last ? load_one(from + i) : 0.0f;
      }
      sum += (v[0] * v[0] + v[1] * v[1]) + (v[2] * v[2] + v[3] * v[3]);
    }
    for (int mask = kLanes / 2; mask > 0; mask >>= 1) sum += shuffle_xor(sum, mask);
    if (item < items && c.lane % kLanes == 0) out[static_cast<u64>(row) * C::kOutStride + tile] = sum;
  }
  end_task(c, in);
}
