// One warp's attention of eight of a step's queries to units of 32 rows on tensor cores: scores K Q^T,
// then results V^T P^T, queries in the columns of both; see columns.cuh.

// Rows of keys and values lie as in the cache, dims in order. A lane takes 16 bytes of a row, eight
// dims, for two products of 16 dims: which dims those are is any order that both operands share.
template <class C> struct QueryMap {
  static constexpr u32 kBlocks = (C::kD + 31) / 32;  // of 32 dims, four lanes' 16 bytes
  // Whether a unit's keys and values are asked for at once, all of them: a latency a unit, not four. With
  // more queries most warps have some, and the past is staged. A window's limits need registers, too.
  static constexpr bool kWhole = kMaxTokens > 8 && kMaxTokens <= 32 && !kFewRegisters &&
                                 kBlocks >= 2 && kBlocks <= 4 && C::kWindow == 0;
  // Blocks of keys or values in registers; the widest heads' sums leave room for one. (Of six blocks ptxas
  // keeps two where one would spill, from sm_90 on.)
  static constexpr u32 kMostForTwo = MPK_ARCH < 900 ? 4 : 6;
  static constexpr u32 kAtOnce = kWhole ? kBlocks : kBlocks < 2 || kBlocks > kMostForTwo ? 1 : 2;
  // Rows of shared memory: neighbours in other banks, two of them serve eight lanes.
  static constexpr u32 kRowBytes = kBlocks * 64 + (kBlocks % 2 == 0 ? 64 : 0);
  static constexpr u32 kRows = (kMaxTokens + 7) / 8 * 8;
  // Of a block's two tiles of results: the dim of row `row`.
  MPK_DEVICE static u32 dim(u32 tile, u32 row) {
    const u32 g = row & 7u;
    return tile / 2 * 32 + g / 2 * 8 + (tile % 2 * 2 + row / 8) * 2 + g % 2;
  }
  // Whether there is a block b, where kAtOnce of them are taken from an even one on.
  MPK_DEVICE static bool inside(u32 b) { return kBlocks % kAtOnce == 0 || b < kBlocks; }
  // Whether a lane of quarter q has dims of block b: the last may be half a block.
  MPK_DEVICE static bool has(u32 b, u32 q) { return C::kD % 32 == 0 || b * 32 + q * 8 < C::kD; }
};

// Shared memory: queries, scaled, in two bf16 terms, then this step's keys and values, rows by token;
// at the end, in their place, the warps' weighted values. Then their maxima and sums.
template <class C> struct QueryShared {
  static constexpr u32 kPlane = QueryMap<C>::kRows * QueryMap<C>::kRowBytes;
  static constexpr u32 kMergeDims = QueryMap<C>::kBlocks < 2 ? 32 : 64;  // whole blocks
  static constexpr u32 kStride = kMergeDims + 4;  // lanes of a quad in different banks
  static constexpr u32 kValuesBytes = kConsumerWarps * 8 * kStride * 4;
  u8* rows;       // [high query, low query, key, value][token]
  float* values;  // [warp][query][kStride]
  float* stats;   // [warp][query][2]
  MPK_DEVICE explicit QueryShared(u8* work) {
    rows = work;
    values = reinterpret_cast<float*>(work);
    stats = reinterpret_cast<float*>(work + (4 * kPlane > kValuesBytes ? 4 * kPlane : kValuesBytes));
  }
  MPK_DEVICE u8* row(u32 plane, u32 token) const {
    return rows + plane * kPlane + token * QueryMap<C>::kRowBytes;
  }
};

// ---- rows of a unit ------------------------------------------------------------------------------
// Of a unit's 32 rows a lane reads four, g, g + 8, g + 16 and g + 24: positions before this step from
// the cache, or tokens of this step from shared memory. One kind of load for both saves registers.
struct UnitRows {
  const u8* keys;
  const u8* values;  // as far from theirs as keys are from `keys`
  u32 at[4];         // in 16 bytes

  // Beyond the last position or token that one's rows, which are there.
  template <class C>
  MPK_DEVICE void past(const Context& c, const u32* in, u32 kvHead, u32 base) {
    const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
    keys = c.params->kv + static_cast<u64>(operands(in)[C::kStateOperand]) * 256;
    values = keys + static_cast<u64>(C::kKvHeads) * kPageTokens * C::kD * 2;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      u32 key = base + i * 8 + (c.lane >> 2);
      if (key >= c.position) key = c.position - 1;
      at[i] = static_cast<u32>(cache_row<C>(page_of(c, pages, key), key, 0, kvHead) / 8);
    }
  }
  template <class C>
  MPK_DEVICE void own(const Context& c, const QueryShared<C>& s, u32 token0) {
    keys = s.row(2, 0);
    values = s.row(3, 0);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      const u32 token = token0 + i * 8 + (c.lane >> 2);
      at[i] = (token < c.tokens ? token : c.tokens - 1) * (QueryMap<C>::kRowBytes / 16);
    }
  }
};

// Blocks [first, first + kAtOnce) of the four rows.
template <class C> struct RowBlocks {
  typedef QueryMap<C> Map;
  Vec4 part[Map::kAtOnce][4];

  MPK_DEVICE void load(const u8* rows, const u32 (&at)[4], u32 first, u32 q) {
    warp_barrier();  // not before others leave the registers
#pragma unroll
    for (u32 b = 0; b < Map::kAtOnce; b++) {
#pragma unroll
      for (u32 i = 0; i < 4; i++) {
        part[b][i] = Vec4{0, 0, 0, 0};
        if (Map::inside(first + b) && Map::has(first + b, q)) {
          part[b][i] = load_any_vec4(rows + static_cast<u64>(at[i]) * 16 + (first + b) * 64 + q * 16);
        }
      }
    }
  }
};

// ---- one warp ------------------------------------------------------------------------------------
template <class C> struct QueryWarp {
  typedef QueryMap<C> Map;
  ColumnSums<2 * Map::kBlocks, 2> sums;

  // score += K Q^T: rows are keys.
  MPK_DEVICE void multiply_keys(const RowBlocks<C>& k, const u8* query, u32 first, u32 q,
                                float (&score)[2][4]) {
#pragma unroll
    for (u32 b = 0; b < Map::kAtOnce; b++) {
      if (!Map::inside(first + b)) break;
#pragma unroll
      for (u32 term = 0; term < 2; term++) {
        Vec4 x = {0, 0, 0, 0};
        if (Map::has(first + b, q)) {
          const u8* at = query + term * QueryShared<C>::kPlane + (first + b) * 64;
          x = *reinterpret_cast<const Vec4*>(at);
        }
#pragma unroll
        for (u32 tile = 0; tile < 2; tile++) {
          const Vec4 upper = k.part[b][2 * tile], lower = k.part[b][2 * tile + 1];
          mma_16x8x16(score[tile], Vec4{upper.x, lower.x, upper.y, lower.y}, x.x, x.y);
          mma_16x8x16(score[tile], Vec4{upper.z, lower.z, upper.w, lower.w}, x.z, x.w);
        }
      }
    }
  }

  // sums.value += V^T P^T: rows are dims.
  MPK_DEVICE void multiply_values(const RowBlocks<C>& v, u32 first, const UnitWeights<2>& p) {
#pragma unroll
    for (u32 b = 0; b < Map::kAtOnce; b++) {
      if (!Map::inside(first + b)) break;
#pragma unroll
      for (u32 keys = 0; keys < 2; keys++) {
        const Vec4 upper = v.part[b][2 * keys], lower = v.part[b][2 * keys + 1];
        const Vec4 even = {transpose_8x8(upper.x), transpose_8x8(upper.y),
                           transpose_8x8(lower.x), transpose_8x8(lower.y)};
        const Vec4 odd = {transpose_8x8(upper.z), transpose_8x8(upper.w),
                          transpose_8x8(lower.z), transpose_8x8(lower.w)};
        float(&to)[4] = sums.value[(first + b) * 2];
        float(&other)[4] = sums.value[(first + b) * 2 + 1];
        mma_16x8x16(to, even, p.high[keys][0], p.high[keys][1]);
        mma_16x8x16(other, odd, p.high[keys][0], p.high[keys][1]);
        mma_16x8x16(to, even, p.low[keys][0], p.low[keys][1]);
        mma_16x8x16(other, odd, p.low[keys][0], p.low[keys][1]);
      }
    }
  }

  // Scores of keys, from position `base` on, that a query does not see, or that are beyond `limit`.
  MPK_DEVICE void hide(const Context& c, u32 token0, u32 base, u32 limit,
                       float (&score)[2][4]) const {
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
      const u32 tile = i >> 2, half = (i >> 1) & 1u, e = i & 1u;
      const u32 key = base + tile * 16 + half * 8 + (c.lane >> 2);
      const u32 at = c.position + token0 + (c.lane & 3u) * 2 + e;
      const bool seen = key < limit && key <= at && (C::kWindow == 0 || key + C::kWindow > at);
      if (!seen) score[tile][2 * half + e] = kMinusInfinity;
    }
  }

  // A unit of keys from position `base` on, and below `limit`, for the eight queries from token0 on.
  MPK_DEVICE void take(const Context& c, const UnitRows& unit, u32 token0, u32 base, u32 limit) {
    const u32 q = c.lane & 3u, own = token0 + (c.lane >> 2);
    // This lane's part of its row of the first term.
    const u8* query = QueryShared<C>(c.work).row(0, own < c.tokens ? own : c.tokens - 1) + q * 16;
    float score[2][4] = {};
    RowBlocks<C> v;
#pragma unroll 1
    for (u32 first = 0; first < Map::kBlocks; first += Map::kAtOnce) {
      RowBlocks<C> k;
      k.load(unit.keys, unit.at, first, q);
      if (Map::kWhole) v.load(unit.values, unit.at, 0, q);
      multiply_keys(k, query, first, q, score);
    }
    if (!Map::kWhole) v.load(unit.values, unit.at, 0, q);
    hide(c, token0, base, limit, score);
    sums.take(score);
    UnitWeights<2> weights;
    weights.pack(score);
#pragma unroll
    for (u32 first = 0; first < Map::kBlocks; first += Map::kAtOnce) {
      if (first > 0) v.load(unit.values, unit.at, first, q);
      multiply_values(v, first, weights);
    }
  }
};
