// Rows of x in steps of two to eight tokens, as a lane's fragments of mma's second operand: straight from
// where x is, normed on the way.

// Eight columns of a row as they lie in memory.
template <class X> struct RawEight;
template <> struct RawEight<float> {
  Vec4 low, high;
  template <bool kWhole> MPK_DEVICE void load(const float* p) {
    low = load_vec4(p);
    high = load_vec4(p + 4);
  }
  MPK_DEVICE void set(const float (&v)[8]) {
    low = Vec4{f32_to_bits(v[0]), f32_to_bits(v[1]), f32_to_bits(v[2]), f32_to_bits(v[3])};
    high = Vec4{f32_to_bits(v[4]), f32_to_bits(v[5]), f32_to_bits(v[6]), f32_to_bits(v[7])};
  }
  MPK_DEVICE void get(float (&v)[8]) const {
    v[0] = bits_to_f32(low.x); v[1] = bits_to_f32(low.y);
    v[2] = bits_to_f32(low.z); v[3] = bits_to_f32(low.w);
    v[4] = bits_to_f32(high.x); v[5] = bits_to_f32(high.y);
    v[6] = bits_to_f32(high.z); v[7] = bits_to_f32(high.w);
  }
};
template <> struct RawEight<u16> {
  Vec4 words;
  // Rows start at 16 bytes, or at 8.
  template <bool kWhole> MPK_DEVICE void load(const u16* p) {
    if constexpr (kWhole) {
      words = load_vec4(p);
    } else {
      const Vec2 low = load_vec2(p), high = load_vec2(p + 4);
      words = Vec4{low.x, low.y, high.x, high.y};
    }
  }
  MPK_DEVICE void set(const float (&v)[8]) {
    words = Vec4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                 pack_bf16(v[6], v[7])};
  }
  MPK_DEVICE void get(float (&v)[8]) const {
    v[0] = bf16_low(words.x); v[1] = bf16_high(words.x);
    v[2] = bf16_low(words.y); v[3] = bf16_high(words.y);
    v[4] = bf16_low(words.z); v[5] = bf16_high(words.z);
    v[6] = bf16_low(words.w); v[7] = bf16_high(words.w);
  }
};

// The most warps, more than half of them, of which each has the same chunks of every tile, or of every so
// many; all where there are none such. With fewer than all a stage passes from warp to warp, and a wait for
// its next fill must find the last one there: the warp's chunk before came, so that all have come that were
// issued kMaxInFlight before that one.
MPK_DEVICE constexpr u32 even_warps(u32 chunksPerTile) {
  for (u32 warps = kConsumerWarps; warps > kConsumerWarps / 2; warps--) {
    if (warps < kConsumerWarps && warps + kMaxInFlight > kStages) continue;
    if (chunksPerTile % warps == 0 || warps % chunksPerTile == 0) return warps;
  }
  return kConsumerWarps;
}

// A lane's row of x (lanes of rows beyond the step have the last one's), and its norm.
template <class C> struct FewRows {
  typedef typename C::X X;
  static constexpr u32 kWarps = even_warps(C::kChunksPerTile);  // that multiply
  // Blocks of 32 columns that are loaded at once, and such parts of a chunk: 32 registers, or 16 where
  // threads have few.
  static constexpr u32 kFew = (kFewRegisters ? 8 : 16) / sizeof(X);
  static constexpr u32 kAtOnce = kFew < C::kFolds ? C::kFolds : kFew;
  static constexpr u32 kBlocks = C::kBlocksPerChunk * C::kFolds;  // of x, for a chunk of weights
  static constexpr u32 kPart = kBlocks < kAtOnce ? kBlocks : kAtOnce;
  static constexpr u32 kParts = (kBlocks + kPart - 1) / kPart;
  typedef RawEight<X> Raw[kPart];
  static constexpr u32 kColumns = kBlocks * 32;  // of a chunk
  static constexpr bool kPadded = C::kChunksPerTile * kColumns > C::kK;
  // Gains lie in shared memory, where one token has its x, before x is there.
  static constexpr bool kEarlyGains = C::kNorm == 1 && C::kK % 32 == 0 && !kPadded &&
                                      sizeof(typename C::Gain) == 2 && C::kK * 2 <= kActivationBytes;
  const u32* ops;
  const X* row;  // from this lane's first column on
  u32 column;
  float scale, mean;

  MPK_DEVICE static void bring_gains(const Context& c, const u32* ops) {
    if constexpr (kEarlyGains) {
      const u16* from = in_resident<u16>(c, ops[C::kGainOperand]);
#pragma unroll 1
      for (u32 i = c.thread * 8; i < C::kK; i += kConsumerThreads * 8) {
        *reinterpret_cast<Vec4*>(c.work + i * 2) = load_const_vec4(from + i);
      }
    }
  }
  MPK_DEVICE void open(const Context& c, const u32* operands) {
    ops = operands;
    const u32 at = c.lane >> 2;
    column = (c.lane & 3u) * 8;
    row = in_scratch<X>(c, ops[C::kXOperand]) +
          static_cast<u64>(at < c.tokens ? at : c.tokens - 1) * C::kXStride + column;
    scale = 1.0f;
    mean = 0.0f;
  }

  // Blocks of chunk k from `part` on, zero beyond kK.
  MPK_DEVICE void load(u32 k, u32 part, Raw& raw) const {
    const u32 chunk = k * kColumns;
    const X* from = row + chunk;  // the offsets behind it are constants
#pragma unroll
    for (u32 b = 0; b < kPart; b++) {
      const u32 block = part * kPart + b, at = chunk + block * 32;
      if (C::kVectorX && C::kK % 32 == 0) {
        // A part or a chunk may end beyond x: any columns do there.
        const bool inside = (kBlocks % kPart == 0 || block < kBlocks) &&
                            (!kPadded || at < C::kK);
        raw[b].template load<C::kWholeX>(inside ? from + block * 32 : row);
      } else {
        float v[8];
        for (u32 i = 0; i < 8; i++) {
          v[i] = at + column + i < C::kK ? load_one(row + at + i) : 0.0f;
        }
        raw[b].set(v);
      }
    }
  }

  // As the second operand of two products.
  MPK_DEVICE Vec4 finish(const Context& c, const RawEight<X>& raw, u32 k, u32 block) const {
    const u32 at = k * kColumns + column + block * 32;
    if (kPadded && at >= C::kK) return Vec4{0, 0, 0, 0};
    if constexpr (C::kNorm == 0 && sizeof(X) == 2) {
      return raw.words;
    } else {
      float v[8];
      raw.get(v);
      if (C::kNorm != 0) normalize(c, k * kColumns + column, block * 32, v);
      return Vec4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                  pack_bf16(v[6], v[7])};
    }
  }

  MPK_DEVICE void normalize(const Context& c, u32 at, u32 behind, float (&v)[8]) const {
    if constexpr (kEarlyGains) {
      RawEight<u16> gains;
      gains.words = *reinterpret_cast<const Vec4*>(c.work + (at + behind) * 2);
      float gain[8];
      gains.get(gain);
#pragma unroll
      for (u32 i = 0; i < 8; i++) v[i] = v[i] * scale * gain[i];
    } else {
      for (u32 half = 0; half < 8; half += 4) {
        float four[4] = {v[half], v[half + 1], v[half + 2], v[half + 3]};
        Norm<C>::apply(c, ops, at + behind + half, mean, scale, four);
        for (u32 i = 0; i < 4; i++) v[half + i] = four[i];
      }
    }
  }

  MPK_DEVICE void find_scale(const Context& c, float* sums) {
    if (C::kNorm == 2) mean = total(c, false, sums);
    if (C::kNorm != 0) scale = m_rsqrt(total(c, true, sums + kConsumerWarps * 8) + C::kEps);
  }
  // Sum over a lane's row of x, or of its squares about the mean, by all warps: a chunk in turn each.
  // `sums`: [warp][row], other ones for each call.
  MPK_DEVICE float total(const Context& c, bool squares, float* sums) const {
    float sum = 0.0f;
    for (u32 k = c.warp; k < C::kChunksPerTile; k += kConsumerWarps) {
#pragma unroll 1
      for (u32 part = 0; part < kParts; part += 2) {
        Raw raw[2];
        load(k, part, raw[0]);
        if (kParts > 1) load(k, part + 1 < kParts ? part + 1 : part, raw[1]);
#pragma unroll
        for (u32 i = 0; i < (kParts > 1 ? 2 : 1); i++) sum += of_part(raw[i], k, part + i, squares);
      }
    }
    return sum_rows(c, sum, sums, c.warp);
  }
  // A warp's share of each row, by rows of lanes; `slot` is another one for each warp.
  MPK_DEVICE void put_sum(const Context& c, float share, float* sums, u32 slot) const {
    share += shuffle_xor(share, 1);
    share += shuffle_xor(share, 2);
    if ((c.lane & 3u) == 0) sums[slot * 8 + (c.lane >> 2)] = share;
  }
  // The sum of all shares.
  MPK_DEVICE float sum_rows(const Context& c, float share, float* sums, u32 slot) const {
    put_sum(c, share, sums, slot);
    consumer_barrier();
    float sum = 0.0f;
    for (u32 w = 0; w < kConsumerWarps; w++) sum += sums[w * 8 + (c.lane >> 2)];
    return sum * (1.0f / static_cast<float>(C::kK));
  }
  MPK_DEVICE float of_part(const Raw& raw, u32 k, u32 part, bool squares) const {
    float sum = 0.0f;
#pragma unroll
    for (u32 b = 0; b < kPart; b++) {
      const u32 block = part * kPart + b, at = (k * kBlocks + block) * 32 + column;
      float v[8];
      raw[b].get(v);
#pragma unroll
      for (u32 i = 0; i < 8; i++) {
        const float d = v[i] - mean;
        const bool inside = kBlocks % kPart == 0 || block < kBlocks;
        if (inside && ((!kPadded && C::kK % 32 == 0) || at + i < C::kK)) sum += squares ? d * d : v[i];
      }
    }
    return sum;
  }
};

// Fragments of x in registers: `kChunks` chunks of them, from chunk `first` of a tile on every so many.
// From x's arrival to them lies as little as registers allow: parts are asked for as soon as others have
// left registers for them. Where the same loads give a norm's sums, those scale the products.
template <class C, u32 kChunks> struct HeldRows {
  typedef FewRows<C> Rows;
  static constexpr u32 kAll = kChunks * Rows::kParts;
  // Each chunk of a tile is one warp's, so that together they have seen all of x.
  static constexpr bool kNorms =
      C::kNorm == 1 && C::kChunksPerTile % Rows::kWarps == 0 && Rows::kWarps <= 8;
  static constexpr u32 kMost = kFewRegisters ? 2 : 3, kAhead = kAll < kMost ? kAll : kMost;
  Vec4 part[kAll][Rows::kPart];

  MPK_DEVICE static u32 chunk_of(u32 first, u32 i) {
    return (first + i / Rows::kParts * Rows::kWarps) % C::kChunksPerTile;
  }
  MPK_DEVICE static void load_part(const Rows& x, u32 first, u32 i, typename Rows::Raw& raw) {
    x.load(chunk_of(first, i), i % Rows::kParts, raw);
  }
  MPK_DEVICE void finish_part(const Context& c, const Rows& x, u32 k, u32 i,
                              const typename Rows::Raw& raw) {
    const u32 from = i % Rows::kParts;
#pragma unroll
    for (u32 b = 0; b < Rows::kPart; b++) part[i][b] = x.finish(c, raw[b], k, from * Rows::kPart + b);
    warp_barrier();  // no loads of later parts before: registers are few
  }

  // With kNorms times the norm's gain alone, and this warp's sums of squares to its slot, for `Scaled`.
  MPK_DEVICE void load(const Context& c, const Rows& x, u32 first) {
    typename Rows::Raw ahead[kAhead] = {};
    float squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < kAhead; i++) load_part(x, first, i, ahead[i]);
#pragma unroll
    for (u32 i = 0; i < kAll; i++) {
      const u32 k = chunk_of(first, i);
      if (kNorms) squares += x.of_part(ahead[i % kAhead], k, i % Rows::kParts, true);
      finish_part(c, x, k, i, ahead[i % kAhead]);
      if (i + kAhead < kAll) load_part(x, first, i + kAhead, ahead[i % kAhead]);
    }
    if (kNorms) x.put_sum(c, squares, c.shared->reduce, first);
  }
};

// A linear whose norm scales its products: of a row, behind a barrier, by what all warps' slots sum to.
template <class C> struct Scaled : C {};
template <class C> struct RowScale<Scaled<C>> {
  MPK_DEVICE static float times(const Context& c, u32 row, float product) {
    float sum = 0.0f;
    for (u32 w = 0; w < FewRows<C>::kWarps; w++) sum += c.shared->reduce[w * 8 + row];
    return product * m_rsqrt(sum * (1.0f / static_cast<float>(C::kK)) + C::kEps);
  }
};
