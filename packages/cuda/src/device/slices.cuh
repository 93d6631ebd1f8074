// Slices of a linear's x for the steps of many tokens: K columns of all rows as bf16, in buffers of
// shared memory. One is multiplied by while those of the others are on their way. A row's 64-byte
// blocks lie in pairs that every other row has swapped, unless an odd number of blocks does as much: so
// eight lanes that read two rows meet no bank twice.

// Rows of x that products are made for: 8, 16, 32 or 64 by the step's tokens, this for the most.
constexpr u32 kTokenRows = kMaxTokens <= 16 ? 16 : kMaxTokens <= 32 ? 32 : 64;
// Accumulators of a tile, eight tokens each. Fewer tokens use two for each, to halve the chain.
constexpr u32 kTokenSums = kTokenRows <= 32 ? 4 : 8;
// Whether numbers wait in registers while weights are multiplied.
constexpr bool kHoldsEarly = !kFewRegisters;
// Shared memory of such a task: buffers for slices of x, then [row] scale and mean. As many buffers as
// hold the columns of a whole chunk, but three at least: x comes from L2, so what is on its way bounds it.
constexpr u32 kScaleBytes = kTokenRows * 8;
constexpr u32 kWholeSlices = (kWorkBytes - kScaleBytes) / (kTokenRows * (kStageBytes / 1024) * 64);
constexpr u32 kBuffers = kWholeSlices < 3 ? 3 : kWholeSlices > 6 ? 6 : kWholeSlices;
constexpr u32 kSliceBytes = (kWorkBytes - kScaleBytes) / kBuffers / 128 * 128;

MPK_DEVICE u32 token_rows(u32 tokens) {
  return tokens <= 8 ? 8 : tokens <= 16 ? 16 : tokens <= 32 ? 32 : 64;
}
MPK_DEVICE float* row_scales(const Context& c) {
  return reinterpret_cast<float*>(c.work + kWorkBytes - kScaleBytes);
}

// Four activations as they lie in memory.
template <class X> struct RawQuad;
template <> struct RawQuad<float> {
  Vec4 words;
  MPK_DEVICE void load(const float* p) { words = load_vec4(p); }
  MPK_DEVICE void clear() { words = Vec4{0, 0, 0, 0}; }
  MPK_DEVICE void set(const float (&v)[4]) {
    words = Vec4{f32_to_bits(v[0]), f32_to_bits(v[1]), f32_to_bits(v[2]), f32_to_bits(v[3])};
  }
  MPK_DEVICE void get(float (&v)[4]) const {
    v[0] = bits_to_f32(words.x); v[1] = bits_to_f32(words.y);
    v[2] = bits_to_f32(words.z); v[3] = bits_to_f32(words.w);
  }
};
template <> struct RawQuad<u16> {
  Vec2 words;
  MPK_DEVICE void load(const u16* p) { words = load_vec2(p); }
  MPK_DEVICE void clear() { words = Vec2{0, 0}; }
  MPK_DEVICE void set(const float (&v)[4]) {
    words = Vec2{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
  }
  MPK_DEVICE void get(float (&v)[4]) const {
    v[0] = bf16_low(words.x); v[1] = bf16_high(words.x);
    v[2] = bf16_low(words.y); v[3] = bf16_high(words.y);
  }
};

// Columns k to k + 3 of a row, zero beyond kK. Without branches where there are vectors: eight of
// them would cost registers.
template <class C>
MPK_DEVICE void load_raw(RawQuad<typename C::X>& raw, const typename C::X* row, u32 k) {
  if constexpr (C::kVectorX) {
    raw.load(row + (k < C::kK ? k : 0));
    if (k >= C::kK) raw.clear();
  } else {
    float v[4];
    for (u32 i = 0; i < 4; i++) v[i] = k + i < C::kK ? load_one(row + k + i) : 0.0f;
    raw.set(v);
  }
}

// A warp's quads of a slice: of every kConsumerWarps-th row, 32 at a time.
struct QuadWalk {
  u32 row, quad;
  MPK_DEVICE void start(const Context& c, u32 quads, u32 rows) {
    quad = c.lane;
    row = c.lane < quads ? c.warp : rows;
  }
  MPK_DEVICE void next(const Context& c, u32 quads) {
    quad += 32;
    if (quad >= quads) {
      quad = c.lane;
      row += kConsumerWarps;
    }
  }
};

// Slices of one width, by number. A slice is there once every thread has awaited its part of it, and all
// have met.
template <class C> struct Slices {
  typedef typename C::X X;
  const u32* ops;
  u32 columns, rowBytes;  // of a slice; the last may have fewer columns

  MPK_DEVICE void open(u32 width) {
    columns = width;
    rowBytes = width * 2;
  }
  // In a buffer: the offset of a row's block of 64 bytes and, there, of the swap.
  MPK_DEVICE u32 swap(u32 row) const { return rowBytes & 64u ? 0 : (row & 1u) * 64; }

  // Nothing beyond the last slice.
  MPK_DEVICE void bring(const Context& c, u32 slice, u32 buffer) {
    const u32 first = slice * columns, all = C::kChunksPerTile * C::kBlocksPerChunk * 32;
    const u32 left = first < all ? all - first : 0, width = left < columns ? left : columns;
    u8* to = c.work + buffer * kSliceBytes;
    if constexpr (C::kCopiesX && C::kNorm == 0) {
      copy(c, to, first, width);
    } else {
      store(c, to, first, width);
    }
    end_copies();
  }

  // bf16 as it is, 16 bytes a piece, a row a warp.
  MPK_DEVICE void copy(const Context& c, u8* to, u32 first, u32 width) const {
    const X* x = in_scratch<X>(c, ops[C::kXOperand]);
#pragma unroll 1
    for (u32 at = c.lane * 8; at < width; at += 256) {
#pragma unroll 4
      for (u32 row = c.warp; row < c.tokens; row += kConsumerWarps) {
        const u32 k = first + at;
        copy_piece(to + row * rowBytes + ((at * 2) ^ swap(row)),
                   x + static_cast<u64>(row) * C::kXStride + (k < C::kK ? k : 0), k < C::kK);
      }
    }
  }

  // Normed and rounded on the way.
  MPK_DEVICE void store(const Context& c, u8* to, u32 first, u32 width) const {
    constexpr u32 kBatch = 16 / sizeof(X);
    const X* x = in_scratch<X>(c, ops[C::kXOperand]);
    QuadWalk ahead;
    ahead.start(c, width / 4, c.tokens);
#pragma unroll 1
    while (ahead.row < c.tokens) {
      QuadWalk behind = ahead;
      RawQuad<X> raw[kBatch];
#pragma unroll
      for (u32 i = 0; i < kBatch; i++) {
        const u32 row = ahead.row < c.tokens ? ahead.row : 0;  // beyond them any that is there
        load_raw<C>(raw[i], x + static_cast<u64>(row) * C::kXStride, first + ahead.quad * 4);
        ahead.next(c, width / 4);
      }
#pragma unroll
      for (u32 i = 0; i < kBatch; i++) {
        if (behind.row >= c.tokens) continue;
        u8* at = to + behind.row * rowBytes + ((behind.quad * 8) ^ swap(behind.row));
        *reinterpret_cast<Vec2*>(at) = finished(c, raw[i], behind.row, first + behind.quad * 4);
        behind.next(c, width / 4);
      }
    }
  }

  MPK_DEVICE Vec2 finished(const Context& c, const RawQuad<X>& from, u32 row, u32 k) const {
    float v[4];
    from.get(v);
    if (C::kNorm != 0) {
      Norm<C>::apply(c, ops, k, row_scales(c)[row * 2 + 1], row_scales(c)[row * 2], v);
    }
    return Vec2{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
  }
};

// What scales the products of each row, from the sums of squares of x's blocks, by the row's warp. Asked
// for before the weights, and added up behind them: nobody waits for them. Where registers are few, both
// are behind them.
template <class C> struct ProductScales {
  static constexpr u32 kTurns = (C::kBlocks + 31) / 32;
  static constexpr u32 kRows = (kTokenRows + kConsumerWarps - 1) / kConsumerWarps;
  float part[kRows][kTurns];

  MPK_DEVICE void ask(const Context& c, const u32* ops, u32 rows) {
    if (kHoldsEarly) load(c, ops, rows);
  }
  MPK_DEVICE void load(const Context& c, const u32* ops, u32 rows) {
    const float* squares = in_scratch<float>(c, ops[C::kSquaresOperand]);
#pragma unroll
    for (u32 r = 0; r < kRows; r++) {
#pragma unroll
      for (u32 t = 0; t < kTurns; t++) {
        const u32 row = c.warp + r * kConsumerWarps, block = t * 32 + c.lane;
        const float* from = squares + static_cast<u64>(row) * C::kSquaresStride + block;
        part[r][t] = row < rows && block < C::kBlocks ? load_f32(from) : 0.0f;
      }
    }
  }
  // A barrier lies between this and who reads them.
  MPK_DEVICE void put(const Context& c, const u32* ops, u32 rows) {
    if (!kHoldsEarly) load(c, ops, rows);
#pragma unroll
    for (u32 r = 0; r < kRows; r++) {
      const u32 row = c.warp + r * kConsumerWarps;
      if (row >= rows) break;
      float sum = 0.0f;
#pragma unroll
      for (u32 t = 0; t < kTurns; t++) sum += part[r][t];
      sum = warp_sum(sum) * (1.0f / static_cast<float>(C::kK));
      if (c.lane == 0) row_scales(c)[row * 2] = m_rsqrt(sum + C::kEps);
    }
  }
};
// Of products that nothing scales.
struct NoScales {
  MPK_DEVICE void ask(const Context&, const u32*, u32) {}
  MPK_DEVICE void put(const Context&, const u32*, u32) {}
};

// One warp: the sum of f over a row's columns.
template <class C, class F> MPK_DEVICE float sum_row(const Context& c, const typename C::X* row,
                                                     const F& f) {
  constexpr u32 kQuads = (C::kK + 3) / 4, kBatch = 16;
  float sum = 0.0f;
#pragma unroll 1
  for (u32 base = c.lane; base < kQuads; base += 32 * kBatch) {
    RawQuad<typename C::X> raw[kBatch];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      load_raw<C>(raw[i], row, (base + 32 * i) * 4);
    }
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      float v[4];
      raw[i].get(v);
      for (u32 j = 0; j < 4; j++) sum += (base + 32 * i) * 4 + j < C::kK ? f(v[j]) : 0.0f;
    }
  }
  return warp_sum(sum);
}

struct Itself {
  MPK_DEVICE float operator()(float v) const { return v; }
};
struct SquareAbout {
  float mean;
  MPK_DEVICE float operator()(float v) const { return (v - mean) * (v - mean); }
};

// Scale and mean of each row, by the warp that brings the row's slices.
template <class C> MPK_DEVICE void scale_rows(const Context& c, const typename C::X* x, u32 rows) {
  constexpr float kInverse = 1.0f / static_cast<float>(C::kK);
  for (u32 row = c.warp; row < rows; row += kConsumerWarps) {
    const typename C::X* from = x + static_cast<u64>(row) * C::kXStride;
    const float mean = C::kNorm == 2 ? sum_row<C>(c, from, Itself()) * kInverse : 0.0f;
    const float squares = sum_row<C>(c, from, SquareAbout{mean}) * kInverse;
    if (c.lane == 0) {
      row_scales(c)[row * 2] = m_rsqrt(squares + C::kEps);
      row_scales(c)[row * 2 + 1] = mean;
    }
  }
  warp_barrier();
}
