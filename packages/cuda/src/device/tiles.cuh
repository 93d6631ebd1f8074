// One warp's attention of one query, of heads of up to 128 dims, to its tiles of the past on tensor cores.

// Sixteen past keys are a tile, each warp has tiles of its own. Scores are K q and results V^T p
// (mma.m16n8k16): q and p are the columns of the second operand in two bf16 terms, even columns the
// first, odd columns what it leaves, so that only cached keys and values are rounded. Lane 4 g + t has
// row g and column t of a fragment; which dim of a head a row or column is, is free.

template <class C> struct OneMap {
  static constexpr bool kHas = C::kD <= 128;
  static constexpr u32 kSteps = C::kD / 16;
  static constexpr u32 kKeyVec = C::kD % 32 == 0 ? 8 : 4;  // a lane's consecutive dims of a key
  static constexpr u32 kPieces = C::kD / 4 / kKeyVec;
  // Tiles that a warp has in registers before the query is there, and the next ones while it computes.
  static constexpr bool kEarly = !kFewRegisters;
  // A window's limits beside norms leave room for one, where there are steps of several tokens, too.
  static constexpr bool kRoomy = !kFewRegisters &&
                                 !(C::kWindow && C::kQkNorm && kMaxTokens > 1);
  static constexpr u32 kTiles = kEarly && (C::kD <= 64 || kRoomy) ? 2 : 1;
  static constexpr u32 kChains = kEarly ? 4 : 1;  // of products for a score
  static constexpr u32 kTurn = kConsumerWarps * 16;  // keys that a tile of every warp takes in
};

// Shared memory of a task; packing.ts of the op knows the bytes.
template <class C> struct OneShared {
  static constexpr u32 kStats = ((kConsumerWarps + 1) * 2 + 3) / 4 * 4;
  static constexpr u32 kTerm = C::kD + 32;
  float* stats;    // (maximum, sum) of every warp, then of the step's own key
  float* squares;  // of the query, in eight parts
  float* values;   // [warp][kD]
  u16* query;      // its two terms, kTerm apart: the same dim in different banks
  u16* k;
  u16* v;
  MPK_DEVICE explicit OneShared(u8* work) {
    stats = reinterpret_cast<float*>(work);
    squares = stats + kStats;
    values = squares + 8;
    query = reinterpret_cast<u16*>(values + kConsumerWarps * C::kD);
    k = query + kTerm + C::kD;
    v = k + C::kD;
  }
};

// The past of a step: whole tiles from `first` on; of their keys those from `seen` on count.
template <class C> struct OnePast {
  const u16* cache;
  const i32* pages;
  u32 seen, first, tiles;

  MPK_DEVICE OnePast(const Context& c, const u16* from, const i32* table)
      : cache(from), pages(table), seen(first_seen<C>(c.position)), first(seen / 16 * 16),
        tiles((c.position - first + 15) / 16) {}

  // A row of a tile; what was never written, or is out of sight, is another row of it instead: not
  // even times 0 may it count.
  MPK_DEVICE const u16* row(const Context& c, u32 kvHead, u32 tile, u32 row, u32 isValue) const {
    const u32 base = first + tile * 16;
    u32 at = base + row < c.position ? base + row : c.position - 1;
    if (C::kWindow && at < seen) at = seen;
    const i32 page = page_of(c, pages, kPageTokens % 16 == 0 ? base : at);
    return cache + cache_row<C>(page, at, isValue, kvHead);
  }
};

// One lane's share of a tile: its dims of keys g and g + 8, and of the values of four keys.
template <class C> struct OneTile {
  typedef OneMap<C> Map;
  u32 k[2][Map::kSteps * 2];
  RowPart<C> v[4];

  MPK_DEVICE static void words_of(const u16* from, bool global, u32 (&to)[Map::kKeyVec / 2]) {
    if constexpr (Map::kKeyVec == 8) {
      const Vec4 r = global ? load_vec4(from) : *reinterpret_cast<const Vec4*>(from);
      to[0] = r.x; to[1] = r.y; to[2] = r.z; to[3] = r.w;
    } else {
      const Vec2 r = global ? load_vec2(from) : *reinterpret_cast<const Vec2*>(from);
      to[0] = r.x; to[1] = r.y;
    }
  }

  MPK_DEVICE void load_keys(const Context& c, const OnePast<C>& past, u32 kvHead, u32 tile) {
    u32 lane = c.lane;
    forget(lane);  // offsets no earlier than here: registers are dear
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
      const u16* row = past.row(c, kvHead, tile, (lane >> 2) + 8 * half, 0);
#pragma unroll
      for (u32 p = 0; p < Map::kPieces; p++) {
        u32 words[Map::kKeyVec / 2];
        words_of(row + (p * 4 + (lane & 3u)) * Map::kKeyVec, true, words);
#pragma unroll
        for (u32 i = 0; i < Map::kKeyVec / 2; i++) k[half][p * (Map::kKeyVec / 2) + i] = words[i];
      }
    }
  }
  MPK_DEVICE void load_values(const Context& c, const OnePast<C>& past, u32 kvHead, u32 tile) {
    u32 lane = c.lane;
    forget(lane);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      const u32 key = (lane & 3u) * 2 + i % 2 + i / 2 * 8;
      v[i].load(past.row(c, kvHead, tile, key, 1), true, lane >> 2);
    }
  }

  // Scores of keys g and g + 8; `query` is the term of this lane's column.
  MPK_DEVICE void score(const u16* query, u32 lane, float (&p)[2]) const {
    float sum[4][4] = {};
#pragma unroll
    for (u32 piece = 0; piece < Map::kPieces; piece++) {
      u32 q[Map::kKeyVec / 2];
      words_of(query + (piece * 4 + (lane & 3u)) * Map::kKeyVec, false, q);
#pragma unroll
      for (u32 i = 0; i < Map::kKeyVec / 2; i += 2) {
        const u32 at = piece * (Map::kKeyVec / 2) + i;
        const Vec4 keys = {k[0][at], k[1][at], k[0][at + 1], k[1][at + 1]};
        mma_16x8x16(sum[at / 2 % Map::kChains], keys, q[i], q[i + 1]);
      }
    }
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
      const float low = (sum[0][2 * i] + sum[0][2 * i + 1]) + (sum[1][2 * i] + sum[1][2 * i + 1]);
      const float high = (sum[2][2 * i] + sum[2][2 * i + 1]) + (sum[3][2 * i] + sum[3][2 * i + 1]);
      p[i] = low + high;
    }
  }

  // Adds the weighted values of dims [16 first, 16 first + 64).
  MPK_DEVICE void add(const u32 (&weights)[2], u32 first, float (&value)[4][4]) const {
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      if (first + i >= Map::kSteps) continue;
      const Vec4 dims = {low_halves(v[0].words[first + i], v[1].words[first + i]),
                         high_halves(v[0].words[first + i], v[1].words[first + i]),
                         low_halves(v[2].words[first + i], v[3].words[first + i]),
                         high_halves(v[2].words[first + i], v[3].words[first + i])};
      mma_16x8x16(value[i], dims, weights[0], weights[1]);
    }
  }
};

// Weights of keys g and g + 8 as the second operand of V^T p; their sum to every lane of `sum`.
MPK_DEVICE void pack_weights(const float (&p)[2], u32 (&weights)[2], float (&sum)[4]) {
  constexpr u32 kOnes = 0x3f803f80u;
#pragma unroll
  for (u32 i = 0; i < 2; i++) {
    const float high = round_bf16(p[i]);
    weights[i] = transpose_8x8(pack_bf16(high, p[i] - high));
  }
  mma_16x8x16(sum, Vec4{kOnes, kOnes, kOnes, kOnes}, weights[0], weights[1]);
}

// The largest of a warp's floats, in one instruction: floats in the order of integers.
MPK_DEVICE float warp_most(float v) {
  const i32 bits = static_cast<i32>(f32_to_bits(v));
  const i32 most = warp_max_i32(bits ^ (bits >> 31 & 0x7fffffff));
  return bits_to_f32(static_cast<u32>(most ^ (most >> 31 & 0x7fffffff)));
}

// A warp's tiles of one head, and its share of the result.
template <class C> struct OneWarp {
  typedef OneMap<C> Map;
  OneTile<C> tile[Map::kTiles];

  // Registers that only some paths write would be held through the whole kernel: all begin as zeros.
  MPK_DEVICE void load(const Context& c, const OnePast<C>& past, u32 kvHead) {
    if constexpr (Map::kEarly) {
#pragma unroll
      for (u32 j = 0; j < Map::kTiles; j++) {
        const u32 at = c.warp + j * kConsumerWarps;
        tile[j] = {};
        if (at >= past.tiles) continue;
        tile[j].load_keys(c, past, kvHead, at);
        tile[j].load_values(c, past, kvHead, at);
      }
    }
  }

  // To shared memory: (maximum, sum) and weighted values.
  MPK_DEVICE void run(const Context& c, const OneShared<C>& s, const OnePast<C>& past, u32 kvHead,
                      float scale) {
    constexpr u32 kStride = Map::kTiles * kConsumerWarps;
    const u16* query = s.query + (c.lane >> 2 & 1u) * OneShared<C>::kTerm;
    float maximum = kMinusInfinity, total = 0.0f;
    for (u32 at = c.warp; at < past.tiles; at += kStride) {
      float p[Map::kTiles][2];
      float most = maximum;
#pragma unroll
      for (u32 j = 0; j < Map::kTiles; j++) {
        const u32 own = at + j * kConsumerWarps, next = own + kStride;
        p[j][0] = p[j][1] = kMinusInfinity;
        if (own >= past.tiles) break;
        if (!Map::kEarly) {
          tile[j].load_keys(c, past, kvHead, own);
          tile[j].load_values(c, past, kvHead, own);
        }
        tile[j].score(query, c.lane, p[j]);
        if (Map::kEarly && next < past.tiles) tile[j].load_keys(c, past, kvHead, next);
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
          const u32 key = past.first + own * 16 + (c.lane >> 2) + 8 * i;
          const bool seen = key < c.position && (C::kWindow == 0 || key >= past.seen);
          p[j][i] = seen ? p[j][i] * scale : kMinusInfinity;
          most = m_max(most, p[j][i]);
        }
      }
      most = warp_most(most);
      const float keep = exp2_fast(maximum - most);
      maximum = most;
      float sum[4] = {};
      u32 weights[Map::kTiles][2] = {};
#pragma unroll
      for (u32 j = 0; j < Map::kTiles; j++) {
        if (at + j * kConsumerWarps >= past.tiles) break;
        p[j][0] = exp2_fast(p[j][0] - most);
        p[j][1] = exp2_fast(p[j][1] - most);
        pack_weights(p[j], weights[j], sum);
      }
      total = total * keep + (sum[0] + sum[1]);
      add(c, s, weights, keep, at + kConsumerWarps < past.tiles);
#pragma unroll
      for (u32 j = 0; j < Map::kTiles; j++) {
        const u32 next = at + j * kConsumerWarps + kStride;
        if (Map::kEarly && next < past.tiles) tile[j].load_values(c, past, kvHead, next);
      }
    }
    if (c.lane == 0) {
      s.stats[c.warp * 2] = maximum;
      s.stats[c.warp * 2 + 1] = total;
    }
  }

  // The values of one turn to those before, which shared memory has, 64 dims at a time: registers are
  // dear. All four lanes of a row have its sums; each keeps one pair of dims of every 64.
  MPK_DEVICE void add(const Context& c, const OneShared<C>& s, const u32 (&weights)[Map::kTiles][2],
                      float keep, bool second) const {
    const u32 t = c.lane & 3u;
#pragma unroll
    for (u32 first = 0; first < Map::kSteps; first += 4) {
      const bool mine = first + t < Map::kSteps;
      float* to = pair(c, s, first + t);
      float value[4][4] = {}, even = mine ? to[0] * keep : 0.0f, odd = mine ? to[1] * keep : 0.0f;
      tile[0].add(weights[0], first, value);
      if (Map::kTiles > 1 && second) tile[Map::kTiles - 1].add(weights[Map::kTiles - 1], first, value);
#pragma unroll
      for (u32 i = 0; i < 4; i++) {
        even += t == i ? value[i][0] + value[i][1] : 0.0f;
        odd += t == i ? value[i][2] + value[i][3] : 0.0f;
      }
      if (!mine) continue;
      to[0] = even;
      to[1] = odd;
    }
  }
  MPK_DEVICE static void clear(const Context& c, const OneShared<C>& s) {
#pragma unroll
    for (u32 i = c.lane & 3u; i < Map::kSteps; i += 4) {
      float* to = pair(c, s, i);
      to[0] = to[1] = 0.0f;
    }
  }
  MPK_DEVICE static float* pair(const Context& c, const OneShared<C>& s, u32 i) {
    return s.values + c.warp * C::kD + HeadMap<C>::dim(c.lane >> 2, 2 * i);
  }
};
