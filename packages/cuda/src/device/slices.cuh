// Slices of a linear's x for the steps of many tokens: K columns of all rows, normed and rounded, in one
// of two halves of shared memory, while the other half is multiplied by.

// Rows of x that products are made for: 8, 16, 32 or 64 by the step's tokens, this for the most.
constexpr u32 kTokenRows = kMaxTokens <= 16 ? 16 : kMaxTokens <= 32 ? 32 : 64;
// Accumulators of a tile, eight tokens each. Fewer tokens use two for each, to halve the chain.
constexpr u32 kTokenSums = kTokenRows <= 32 ? 4 : 8;
// Shared memory of such a task: two halves for slices of x, then [row] scale and mean.
constexpr u32 kSliceBytes = (kWorkBytes - kTokenRows * 8) / 256 * 128;

MPK_DEVICE u32 token_rows(u32 tokens) {
  return tokens <= 8 ? 8 : tokens <= 16 ? 16 : tokens <= 32 ? 32 : 64;
}
MPK_DEVICE float* row_scales(const Context& c) {
  return reinterpret_cast<float*>(c.work + kWorkBytes - kTokenRows * 8);
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

// Brings slices of x to shared memory as bf16, normed: a batch of loads, and its stores a step later. A
// row's 64-byte blocks lie in pairs that every other row has swapped, unless an odd number of blocks
// does as much: so eight lanes that read two rows meet no bank twice.
template <class C> struct Stager {
  typedef typename C::X X;
  static constexpr u32 kBatch = (MPK_FEW_KEYS ? 16 : 32) / sizeof(X);  // 16 or 32 registers
  const u32* ops;
  u32 rowBytes;
  u32 half, k0, quads;  // the slice under way: its half's offset, first column and width
  QuadWalk ahead, behind;
  RawQuad<X> raw[kBatch];

  MPK_DEVICE void open(const Context& c, u32 offset, u32 firstColumn, u32 columns) {
    half = offset;
    k0 = firstColumn;
    quads = columns / 4;
    ahead.start(c, quads, c.tokens);
    behind = ahead;
    if (!done(c)) load(c);
  }
  MPK_DEVICE bool done(const Context& c) const { return behind.row >= c.tokens; }

  MPK_DEVICE void step(const Context& c) {
    if (done(c)) return;
    store(c);
    if (!done(c)) load(c);
  }

  MPK_DEVICE void load(const Context& c) {
    const X* x = in_scratch<X>(c, ops[C::kXOperand]);
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 row = ahead.row < c.tokens ? ahead.row : 0;  // beyond them any that is there
      load_raw<C>(raw[i], x + static_cast<u64>(row) * C::kXStride, k0 + ahead.quad * 4);
      ahead.next(c, quads);
    }
  }

  MPK_DEVICE void store(const Context& c) {
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      if (behind.row >= c.tokens) continue;
      const u32 flip = rowBytes & 64u ? 0 : (behind.row & 1u) * 64;
      u8* at = c.work + half + behind.row * rowBytes + ((behind.quad * 8) ^ flip);
      *reinterpret_cast<Vec2*>(at) = finished(c, raw[i], behind.row, k0 + behind.quad * 4);
      behind.next(c, quads);
    }
  }

  MPK_DEVICE Vec2 finished(const Context& c, const RawQuad<X>& from, u32 row, u32 k) const {
    if constexpr (C::kNorm == 0 && sizeof(X) == 2) {
      return from.words;
    } else {
      float v[4];
      from.get(v);
      if (C::kNorm) norm(c, v, row, k);
      return Vec2{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
    }
  }

  MPK_DEVICE void norm(const Context& c, float (&v)[4], u32 row, u32 k) const {
    const float scale = row_scales(c)[row * 2], mean = row_scales(c)[row * 2 + 1];
    if (C::kNorm == 1 && C::kVectorX) {
      float gain[4] = {};
      if (k < C::kK) {
        Gains gains;
        gains.load(in_resident<typename C::Gain>(c, ops[C::kGainOperand]) + k);
        gains.get(static_cast<const typename C::Gain*>(nullptr), gain);
      }
#pragma unroll
      for (u32 i = 0; i < 4; i++) v[i] = v[i] * scale * gain[i];
    } else {
      Norm<C>::apply(c, ops, k, mean, scale, v);
    }
  }
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
