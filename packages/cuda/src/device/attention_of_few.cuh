// Attention of a step's two to eight tokens in plans of no more, one query head a task, where a tile can wait
// in registers. Tiles of sixteen past keys, as one token has them (tiles.cuh), and one more of the step's own
// keys are dealt to the warps in turns, and each warp has its first one before the queries are there: from
// their arrival on lies one latency on the way for contexts of a tile a warp. Queries are the columns of all
// products.

// Shared memory: rows of the queries, scaled, in two bf16 terms, of keys and of values; in their place then
// the warps' weighted values. Behind that their maxima and sums. See the op's packing.ts.
template <class C> struct OctetShared {
  static constexpr u32 kPlane = 8 * QueryMap<C>::kRowBytes;
  static constexpr u32 kStatsBytes = kConsumerWarps * 64;
  // Dims of the values that are there at once: all where they have room.
  static constexpr u32 kDims =
      C::kD <= 64 || kConsumerWarps * 32 * C::kD + kStatsBytes <= kWorkBytes ? C::kD : 64;
  static constexpr u32 kValuesBytes = kConsumerWarps * 32 * kDims;
  static constexpr u32 kStatsAt = 4 * kPlane > kValuesBytes ? 4 * kPlane : kValuesBytes;
  static_assert(kStatsAt + kStatsBytes <= kWorkBytes, "see workBytes");
  u8* rows;      // [high query, low query, key, value][token]
  float* stats;  // [warp][query][2]
  MPK_DEVICE explicit OctetShared(u8* work)
      : rows(work), stats(reinterpret_cast<float*>(work + kStatsAt)) {}
  MPK_DEVICE u16* row(u32 plane, u32 token) const {
    return reinterpret_cast<u16*>(rows + plane * kPlane + token * QueryMap<C>::kRowBytes);
  }
  // Dim d (0 .. kDims) of a warp's values: no bank twice, neither for who writes nor for who reads four.
  MPK_DEVICE float* value(u32 warp, u32 query, u32 d) const {
    const u32 other = kDims % 32 == 0 ? (query >> 1 & 1u) | (query & 4u) : 0;
    return reinterpret_cast<float*>(rows) + (warp * 8 + query) * kDims + ((d >> 2 ^ other) << 2) + (d & 3u);
  }
};

// A warp's tokens: what their rows need is there before them, and where they are.
template <class C> struct OctetRows {
  static constexpr u32 kTurns = (8 + kConsumerWarps - 1) / kConsumerWarps;
  static constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  const typename C::Q* q;  // of head 0, of the first of the tokens
  const typename C::K* k;
  const typename C::V* v;
  u16* cached;  // this lane's part of its row of k or v in the cache, of head 0
  HeadTurn<C> turn;
  HeadGains<C> gains[2];

  MPK_DEVICE void prepare(const Context& c, const u32* ops, u16* cache, const i32* pages) {
    q = in_scratch<typename C::Q>(c, ops[C::kQOperand]) + static_cast<u64>(c.warp) * C::kQStride;
    k = in_scratch<typename C::K>(c, ops[C::kKOperand]) + static_cast<u64>(c.warp) * C::kKStride;
    v = in_scratch<typename C::V>(c, ops[C::kVOperand]) + static_cast<u64>(c.warp) * C::kVStride;
    cached = in_cache(c, cache, pages, c.warp < c.tokens ? c.warp : 0);
    turn.prepare(c.lane, c.position + c.warp);
    if (!C::kQkNorm) return;
    gains[0].load(head_gain<C>(c, ops, 0), c.lane);
    gains[1].load(head_gain<C>(c, ops, 1), c.lane);
  }
  // The first sixteen lanes have eight dims each of k, the others of v.
  MPK_DEVICE static u16* in_cache(const Context& c, u16* cache, const i32* pages, u32 token) {
    const u32 position = c.position + token;
    return cache + cache_row<C>(page_of(c, pages, position), position, c.lane >> 4, 0) + (c.lane & 15u) * 8;
  }

  // Both norms at once: their sums take a latency for each shuffle.
  MPK_DEVICE void norm(HeadRow<C>& q, HeadRow<C>& k) const {
    if (!C::kQkNorm) return;
    float a = q.squares(), b = k.squares();
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) {
      a += shuffle_xor(a, mask);
      b += shuffle_xor(b, mask);
    }
    q.multiply(gains[0], m_rsqrt(a * (1.0f / static_cast<float>(C::kD)) + C::kEps));
    k.multiply(gains[1], m_rsqrt(b * (1.0f / static_cast<float>(C::kD)) + C::kEps));
  }

  MPK_DEVICE static void put(const Context& c, const OctetShared<C>& s, u32 token, HeadRow<C> (&rows)[3]) {
    HeadRow<C>& q = rows[0];
#pragma unroll
    for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
      q.low[i] *= C::kScale * 1.4426950408889634f;
      q.high[i] *= C::kScale * 1.4426950408889634f;
    }
    q.store_bf16(s.row(0, token), c.lane);
    rows[1].store_bf16(s.row(2, token), c.lane);
    rows[2].store_bf16(s.row(3, token), c.lane);
#pragma unroll
    for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
      q.low[i] -= round_bf16(q.low[i]);
      q.high[i] -= round_bf16(q.high[i]);
    }
    q.store_bf16(s.row(1, token), c.lane);
  }

  MPK_DEVICE void run(const Context& c, const OctetShared<C>& s, u32 head) const {
#pragma unroll
    for (u32 i = 0; i < kTurns; i++) {
      const u32 token = c.warp + i * kConsumerWarps, kvHead = head / kGroup;
      if (token >= c.tokens) return;
      HeadRow<C> rows[3];
      rows[0].load(q + i * kConsumerWarps * C::kQStride + head * C::kD, c.lane);
      rows[1].load(k + i * kConsumerWarps * C::kKStride + kvHead * C::kD, c.lane);
      rows[2].load(v + i * kConsumerWarps * C::kVStride + kvHead * C::kD, c.lane);
      HeadTurn<C> own = turn;
      if (i > 0) own.prepare(c.lane, c.position + token);
      norm(rows[0], rows[1]);
      rows[0].turn(own);
      rows[1].turn(own);
      put(c, s, token, rows);
    }
  }

  // The first head of a group appends the rows of k and v, each warp those that it has put there.
  MPK_DEVICE void append(const Context& c, const OctetShared<C>& s, u16* cache, const i32* pages,
                         u32 head) const {
    if (head % kGroup != 0) return;
    const u32 at = (c.lane & 15u) * 8;
#pragma unroll
    for (u32 i = 0; i < kTurns; i++) {
      const u32 token = c.warp + i * kConsumerWarps;
      if (token >= c.tokens || at >= C::kD) return;
      u16* to = (i == 0 ? cached : in_cache(c, cache, pages, token)) + head / kGroup * (kPageTokens * C::kD);
      store_whole_vec4(to, *reinterpret_cast<const Vec4*>(s.row(2 + (c.lane >> 4), token) + at));
    }
  }
};

// A warp's tiles of one head, and its share of the results.
template <class C> struct OctetWarp {
  typedef OneMap<C> Map;
  OneTile<C> tile;
  ColumnSums<Map::kSteps, 1> sums;

  // The first tile of the past; see OneWarp.
  MPK_DEVICE void load(const Context& c, const OnePast<C>& past, u32 kvHead) {
    tile = {};
    if (c.warp >= past.tiles) return;
    tile.load_keys(c, past, kvHead, c.warp);
    tile.load_values(c, past, kvHead, c.warp);
  }

  // The step's own keys and values: there are at most eight, and who has no other takes them again.
  MPK_DEVICE void load_own(const Context& c, const OctetShared<C>& s) {
    const u32 g = c.lane >> 2, t = c.lane & 3u, last = c.tokens - 1;
    const u16* key = s.row(2, g < last ? g : last) + t * Map::kKeyVec;
#pragma unroll
    for (u32 p = 0; p < Map::kPieces; p++) {
      u32 words[Map::kKeyVec / 2];
      tile.words_of(key + p * 4 * Map::kKeyVec, false, words);
#pragma unroll
      for (u32 i = 0; i < Map::kKeyVec / 2; i++) {
        tile.k[0][p * (Map::kKeyVec / 2) + i] = tile.k[1][p * (Map::kKeyVec / 2) + i] = words[i];
      }
    }
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
      tile.v[i].load(s.row(3, 2 * t + i < last ? 2 * t + i : last), false, g);
      tile.v[i + 2] = tile.v[i];
    }
  }

  // Scores: rows are keys. Two chains of products for each of the queries' terms.
  MPK_DEVICE void multiply_keys(const u16* query, float (&score)[1][4]) const {
    float sum[4][4] = {};
#pragma unroll
    for (u32 p = 0; p < Map::kPieces; p++) {
#pragma unroll
      for (u32 term = 0; term < 2; term++) {
        u32 q[Map::kKeyVec / 2];
        tile.words_of(query + term * (OctetShared<C>::kPlane / 2) + p * 4 * Map::kKeyVec, false, q);
#pragma unroll
        for (u32 i = 0; i < Map::kKeyVec / 2; i += 2) {
          const u32 at = p * (Map::kKeyVec / 2) + i;
          const Vec4 keys = {tile.k[0][at], tile.k[1][at], tile.k[0][at + 1], tile.k[1][at + 1]};
          mma_16x8x16(sum[term * 2 + at / 2 % 2], keys, q[i], q[i + 1]);
        }
      }
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) score[0][i] = (sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]);
  }

  // Rows are dims.
  MPK_DEVICE void multiply_values(const UnitWeights<1>& p) {
#pragma unroll
    for (u32 i = 0; i < Map::kSteps; i++) {
      const Vec4 dims = {low_halves(tile.v[0].words[i], tile.v[1].words[i]),
                         high_halves(tile.v[0].words[i], tile.v[1].words[i]),
                         low_halves(tile.v[2].words[i], tile.v[3].words[i]),
                         high_halves(tile.v[2].words[i], tile.v[3].words[i])};
      mma_16x8x16(sums.value[i], dims, p.high[0][0], p.high[0][1]);
      mma_16x8x16(sums.value[i], dims, p.low[0][0], p.low[0][1]);
    }
  }

  // Scores of keys, from position `base` on, that a query does not see, or that are beyond `limit`.
  MPK_DEVICE static void hide(const Context& c, u32 base, u32 limit, float (&score)[1][4]) {
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      const u32 key = base + (c.lane >> 2) + i / 2 * 8, at = c.position + (c.lane & 3u) * 2 + i % 2;
      const bool seen = key < limit && key <= at && (C::kWindow == 0 || key + C::kWindow > at);
      if (!seen) score[0][i] = kMinusInfinity;
    }
  }

  // All of the warp's tiles, the next one on its way; the last of all is the step's own.
  MPK_DEVICE void run(const Context& c, const OctetShared<C>& s, const OnePast<C>& past, u32 kvHead) {
    const u32 g = c.lane >> 2, last = c.tokens - 1;
    const u16* query = s.row(0, g < last ? g : last) + (c.lane & 3u) * Map::kKeyVec;
    sums.clear();
#pragma unroll 1
    for (u32 at = c.warp; at <= past.tiles; at += kConsumerWarps) {
      const bool isOwn = at == past.tiles, more = at + kConsumerWarps < past.tiles;
      if (isOwn) load_own(c, s);
      float score[1][4];
      multiply_keys(query, score);
      if (more) tile.load_keys(c, past, kvHead, at + kConsumerWarps);
      hide(c, isOwn ? c.position : past.first + at * 16, isOwn ? c.position + c.tokens : c.position, score);
      sums.take(score);
      UnitWeights<1> weights;
      weights.pack(score);
      multiply_values(weights);
      if (more) tile.load_values(c, past, kvHead, at + kConsumerWarps);
    }
    sums.close();
  }

  // (maximum, sum) of every query.
  MPK_DEVICE void put_stats(const Context& c, const OctetShared<C>& s) const {
    if (c.lane >= 4) return;
    float* to = s.stats + (c.warp * 8 + 2 * c.lane) * 2;
    *reinterpret_cast<Vec4*>(to) = Vec4{f32_to_bits(sums.maximum[0]), f32_to_bits(sums.sum[0]),
                                        f32_to_bits(sums.maximum[1]), f32_to_bits(sums.sum[1])};
  }
  // Dims of 16 `step` on and, where a lane has four in a row, of the 16 behind them.
  MPK_DEVICE void put_dims(const Context& c, const OctetShared<C>& s, u32 step, u32 d0) const {
    const u32 d = HeadMap<C>::dim(c.lane >> 2, 2 * step) - d0;
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float* to = s.value(c.warp, (c.lane & 3u) * 2 + e, d);
      const Vec2 two = {f32_to_bits(sums.value[step][e]), f32_to_bits(sums.value[step][e + 2])};
      if constexpr (HeadMap<C>::kVec >= 4) {
        const float(&next)[4] = sums.value[step + 1];
        *reinterpret_cast<Vec4*>(to) = Vec4{two.x, two.y, f32_to_bits(next[e]), f32_to_bits(next[e + 2])};
      } else {
        *reinterpret_cast<Vec2*>(to) = two;
      }
    }
  }
};

// What the warps' shares of a query's result count.
template <class C> struct OctetWeights {
  float of[kConsumerWarps];
  float scale;

  MPK_DEVICE void find(const OctetShared<C>& s, u32 query) {
    float most = kMinusInfinity, sum = 0.0f, share[kConsumerWarps];
#pragma unroll
    for (u32 w = 0; w < kConsumerWarps; w++) {
      const Vec2 stats = *reinterpret_cast<const Vec2*>(s.stats + (w * 8 + query) * 2);
      of[w] = bits_to_f32(stats.x);
      share[w] = bits_to_f32(stats.y);
      most = m_max(most, of[w]);
    }
#pragma unroll
    for (u32 w = 0; w < kConsumerWarps; w++) {
      of[w] = exp2_fast(of[w] - most);
      sum += of[w] * share[w];
    }
    scale = reciprocal_fast(sum);
  }
  // Four dims of the first `warps` warps' values.
  MPK_DEVICE Vec4 join(const OctetShared<C>& s, u32 query, u32 d, u32 warps) const {
    float sum[4] = {};
#pragma unroll
    for (u32 w = 0; w < kConsumerWarps; w++) {
      if (w >= warps) continue;  // nothing has been written there
      const Vec4 v = *reinterpret_cast<const Vec4*>(s.value(w, query, d));
      sum[0] += bits_to_f32(v.x) * of[w];
      sum[1] += bits_to_f32(v.y) * of[w];
      sum[2] += bits_to_f32(v.z) * of[w];
      sum[3] += bits_to_f32(v.w) * of[w];
    }
    return Vec4{f32_to_bits(sum[0] * scale), f32_to_bits(sum[1] * scale), f32_to_bits(sum[2] * scale),
                f32_to_bits(sum[3] * scale)};
  }
};

// Joins what the first `warps` warps have; `out` is the head's part of the first token's row.
template <class C>
MPK_DEVICE void finish_octet(const Context& c, const OctetShared<C>& s, const OctetWarp<C>& warp, u32 warps,
                             float* out) {
  typedef OctetShared<C> Shared;
  constexpr u32 kSteps = OneMap<C>::kSteps, kTwo = HeadMap<C>::kVec >= 4 ? 2 : 1;
  warp.put_stats(c, s);
  consumer_barrier();  // all rows have been read, too
#pragma unroll
  for (u32 d0 = 0; d0 < C::kD; d0 += Shared::kDims) {
    const u32 width = C::kD - d0 < Shared::kDims ? C::kD - d0 : Shared::kDims, perRow = width / 4;
    if (d0 > 0) consumer_barrier();
    if (c.warp < warps) {
#pragma unroll
      for (u32 step = d0 / 16; step < (d0 + Shared::kDims) / 16; step += kTwo) {
        if (step < kSteps) warp.put_dims(c, s, step, d0);
      }
    }
    OctetWeights<C> weights;
    weights.find(s, c.thread / perRow % 8);
    consumer_barrier();
#pragma unroll
    for (u32 turn = 0; turn * kConsumerThreads < 8 * perRow; turn++) {
      const u32 e = c.thread + turn * kConsumerThreads, query = e / perRow, d = e % perRow * 4;
      if (query >= c.tokens) break;
      if (turn > 0) weights.find(s, query);
      const Vec4 joined = weights.join(s, query, d, warps);
      const u64 at = static_cast<u64>(query) * C::kOutStride + d0 + d;
      if (C::kRoundsFew) {
        *reinterpret_cast<Vec2*>(reinterpret_cast<u16*>(out) + at) =
            Vec2{pack_bf16(bits_to_f32(joined.x), bits_to_f32(joined.y)),
                 pack_bf16(bits_to_f32(joined.z), bits_to_f32(joined.w))};
      } else {
        store_whole_vec4(out + at, joined);
      }
    }
  }
}

template <class C> MPK_DEVICE void run_attention_of_few(Context& c, const u32* in) {
  constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  // What follows from the step alone would be computed once for all layers, its registers missing
  // everywhere.
  forget(c.position);
  forget(c.tokens);
  const u32* ops = operands(in);
  const OctetShared<C> s(c.work);
  u16* cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256);
  const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
  const OnePast<C> past(c, cache, pages);
  const u32 lo = in[kWordTileLo], hi = in[kWordTileHi];
  prefetch_past<C>(c, cache, pages, lo / kGroup, past.first + OneMap<C>::kTurn);
  OctetRows<C> rows = {};
  rows.prepare(c, ops, cache, pages);
  OctetWarp<C> warp;
#pragma unroll 1
  for (u32 head = lo; head < hi; head++) {
    const u32 kvHead = head / kGroup;
    warp.load(c, past, kvHead);
    if (head == lo) begin_task(c, in);
    else consumer_barrier();  // what the head before left in shared memory has been read
    float* out = in_scratch<float>(c, ops[C::kOutOperand]);
    rows.run(c, s, head);
    consumer_barrier();
    warp.run(c, s, past, kvHead);
    rows.append(c, s, cache, pages, head);
    finish_octet<C>(c, s, warp, past.tiles + 1 < kConsumerWarps ? past.tiles + 1 : kConsumerWarps,
                    out + (C::kRoundsFew ? head * C::kD / 2 : head * C::kD));  // half the bytes
  }
  end_task(c, in);
}
