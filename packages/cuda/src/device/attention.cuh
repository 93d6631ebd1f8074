// Causal attention of one query head over the paged cache and this step's own keys. Norm and RoPE
// of q and k are done here; the first query head of a group appends its KV head's new rows.

// Constants: kHeads, kKvHeads, kD, kScale, kWindow (0: none), kQkNorm, kEps, kRope, kQueryBlock,
//   kQStride, kKStride, kVStride, kOutStride, operand indices, static float frequency(u32 i).

template <class C> struct HeadMap {
  // Eight lanes share a key; each holds kD / 8 of its dims in pieces of kVec consecutive ones.
  static constexpr u32 kVec = C::kD % 64 == 0 ? 8 : C::kD % 32 == 0 ? 4 : 2;
  static constexpr u32 kPieces = C::kD / 8 / kVec;
  static constexpr u32 kDims = C::kD / 8;
  MPK_DEVICE static u32 dim(u32 sub, u32 i) { return (i / kVec * 8 + sub) * kVec + i % kVec; }
};

// Shared memory of a task: q [tokens][kD] f32 (scaled), k and v [tokens][kD] bf16, then one
// (maximum, sum) and one weighted value row per warp and query of a block.
template <class C> struct AttentionShared {
  float* q;
  u16* k;
  u16* v;
  float* stats;  // [warp][query][2]
  float* values;  // [warp][query][kD]
  MPK_DEVICE explicit AttentionShared(u8* work) {
    q = reinterpret_cast<float*>(work);
    k = reinterpret_cast<u16*>(q + kMaxTokens * C::kD);
    v = k + kMaxTokens * C::kD;
    stats = reinterpret_cast<float*>(v + kMaxTokens * C::kD);
    values = stats + kConsumerWarps * C::kQueryBlock * 2;
  }
};

// The cache row of a position: kD bf16. Pages hold kPageTokens rows of every KV head, k then v.
template <class C> MPK_DEVICE u64 cache_row(i32 page, u32 position, u32 isValue, u32 head) {
  u64 block = (static_cast<u64>(page) * 2 + isValue) * C::kKvHeads + head;
  return (block * kPageTokens + position % kPageTokens) * C::kD;
}

// One lane's dims of a cache row as they lie in memory: kPieces of kVec bf16.
template <class C> struct RowPart {
  typedef HeadMap<C> Map;
  u32 words[Map::kDims / 2];

  // From the cache, or from this step's rows in shared memory.
  MPK_DEVICE void load(const u16* row, bool global, u32 sub) {
#pragma unroll
    for (u32 p = 0; p < Map::kPieces; p++) {
      const u16* at = row + (p * 8 + sub) * Map::kVec;
      u32* to = words + p * (Map::kVec / 2);
      if constexpr (Map::kVec == 8) {
        Vec4 r = global ? load_vec4(at) : *reinterpret_cast<const Vec4*>(at);
        to[0] = r.x; to[1] = r.y; to[2] = r.z; to[3] = r.w;
      } else if constexpr (Map::kVec == 4) {
        Vec2 r = global ? load_vec2(at) : *reinterpret_cast<const Vec2*>(at);
        to[0] = r.x; to[1] = r.y;
      } else {
        const u32* one = reinterpret_cast<const u32*>(at);
        to[0] = global ? load_u32(one) : *one;
      }
    }
  }
  MPK_DEVICE float at(u32 i) const {
    return i % 2 == 0 ? bf16_low(words[i / 2]) : bf16_high(words[i / 2]);
  }
};

// Running softmax of one query over the keys a lane group has seen.
template <u32 kDims> struct Running {
  float maximum;
  float sum;
  float value[kDims];
};

// base-2 softmax: scores carry log2(e) already.
constexpr float kMinusInfinity = -1e30f;

// Physical page of a position: the first pages are in shared memory, the rest in L1 and L2.
MPK_DEVICE i32 page_of(const Context& c, const i32* pages, u32 position) {
  const u32 page = position / kPageTokens;
  if (page < kSharedPages) return c.shared->pages[page];
  return static_cast<i32>(load_const_u32(reinterpret_cast<const u32*>(pages + page)));
}

// The key of one turn of a lane group, if it has one.
template <class C> struct KeyRows {
  RowPart<C> k, v;
  u32 key;
  bool valid;

  // From the cache: positions before this step.
  MPK_DEVICE void load_past(const Context& c, const u16* cache, const i32* pages, u32 kvHead,
                            u32 at) {
    key = at;
    valid = at < c.position;
    if (!valid) at = 0;
    const i32 page = page_of(c, pages, at);
    k.load(cache + cache_row<C>(page, at, 0, kvHead), true, c.lane & 7u);
    v.load(cache + cache_row<C>(page, at, 1, kvHead), true, c.lane & 7u);
  }
  // This step's own rows, in shared memory.
  MPK_DEVICE void load_new(const Context& c, const AttentionShared<C>& s, u32 token) {
    key = c.position + token;
    valid = token < c.tokens;
    if (!valid) token = 0;
    k.load(s.k + token * C::kD, false, c.lane & 7u);
    v.load(s.v + token * C::kD, false, c.lane & 7u);
  }
};

// First position that the query at `at` sees.
template <class C> MPK_DEVICE u32 first_seen(u32 at) {
  return C::kWindow && at + 1 > C::kWindow ? at + 1 - C::kWindow : 0;
}

// Past keys that a lane group takes in at once: their latencies overlap.
template <class C, u32 kCount> struct KeyBatch {
  static constexpr u32 kTurn = kConsumerWarps * 4;  // keys that all lane groups take in at once
  KeyRows<C> rows[kCount];

  // The batch that starts at this warp's key `base`.
  MPK_DEVICE void load(const Context& c, const u16* cache, const i32* pages, u32 kvHead,
                       u32 base) {
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      rows[i].load_past(c, cache, pages, kvHead, base + i * kTurn + (c.lane >> 3));
    }
  }
};

// Keys of a batch, as many as registers hold beside the sums of `queries`.
template <class C> MPK_DEVICE constexpr u32 batch_keys(u32 queries) {
  constexpr u32 kMost = MPK_FEW_KEYS ? 64 : 256;  // dims, over all keys of a batch
  return queries > 1 || C::kD > kMost / 2 ? 1 : C::kD > kMost / 4 ? 2 : 4;
}

template <class C>
MPK_DEVICE void attend_key(const KeyRows<C>& rows, const float (&q)[HeadMap<C>::kDims], u32 at,
                           Running<HeadMap<C>::kDims>& r) {
  constexpr u32 kDims = HeadMap<C>::kDims;
  float score = 0.0f;
#pragma unroll
  for (u32 i = 0; i < kDims; i++) score += q[i] * rows.k.at(i);
  score += shuffle_xor(score, 1);
  score += shuffle_xor(score, 2);
  score += shuffle_xor(score, 4);
  // `at` is the query's position.
  const bool seen = rows.valid && rows.key <= at && (C::kWindow == 0 || rows.key + C::kWindow > at);
  if (!seen) score = kMinusInfinity;
  const float maximum = m_max(r.maximum, score);
  const float keep = exp2_fast(r.maximum - maximum);
  const float weight = seen ? exp2_fast(score - maximum) : 0.0f;
  r.maximum = maximum;
  r.sum = r.sum * keep + weight;
#pragma unroll
  for (u32 i = 0; i < kDims; i++) r.value[i] = r.value[i] * keep + weight * rows.v.at(i);
}

// kQueries queries from `query0` on over all their keys.
template <class C, u32 kQueries>
MPK_DEVICE void attend_keys(Context& c, const AttentionShared<C>& s, const u16* cache,
                            const i32* pages, u32 kvHead, u32 query0,
                            Running<HeadMap<C>::kDims> (&run)[kQueries]) {
  typedef HeadMap<C> Map;
  constexpr u32 kBatch = batch_keys<C>(kQueries);
  const u32 at = c.position + query0;  // the first query's position
  float q[kQueries][Map::kDims];
  for (u32 j = 0; j < kQueries; j++) {
    run[j].maximum = kMinusInfinity;
    run[j].sum = 0.0f;
    const float* row = s.q + (query0 + j < c.tokens ? query0 + j : 0) * C::kD;
    for (u32 i = 0; i < Map::kDims; i++) {
      q[j][i] = row[Map::dim(c.lane & 7u, i)];
      run[j].value[i] = 0.0f;
    }
  }
  u32 base = first_seen<C>(at) + c.warp * 4;
  for (; base < c.position; base += kBatch * KeyBatch<C, 1>::kTurn) {
    KeyBatch<C, kBatch> batch;
    batch.load(c, cache, pages, kvHead, base);
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
#pragma unroll
      for (u32 j = 0; j < kQueries; j++) attend_key<C>(batch.rows[i], q[j], at + j, run[j]);
    }
  }
  constexpr u32 kOwnTurns = (kMaxTokens + kConsumerWarps * 4 - 1) / (kConsumerWarps * 4);
  for (u32 turn = 0; turn < kOwnTurns; turn++) {
    const u32 first = (turn * kConsumerWarps + c.warp) * 4;
    if (first >= c.tokens) break;
    KeyRows<C> own;
    own.load_new(c, s, first + (c.lane >> 3));
#pragma unroll
    for (u32 j = 0; j < kQueries; j++) attend_key<C>(own, q[j], at + j, run[j]);
  }
}

// Joins two running softmaxes held by lanes that differ in `mask`.
template <u32 kDims> MPK_DEVICE void join_lanes(Running<kDims>& r, int mask) {
  float other = shuffle_xor(r.maximum, mask), maximum = m_max(r.maximum, other);
  float keep = exp2_fast(r.maximum - maximum);
  r.maximum = maximum;
  r.sum *= keep;
  r.sum += shuffle_xor(r.sum, mask);
  for (u32 i = 0; i < kDims; i++) {
    r.value[i] *= keep;
    r.value[i] += shuffle_xor(r.value[i], mask);
  }
}

MPK_DEVICE void store_attended(float* to, float value) { *to = value; }

// A block of queries of one head. A barrier must lie between two blocks.
template <class C, u32 kQueries>
MPK_DEVICE void attend_block(Context& c, const AttentionShared<C>& s, const u16* cache,
                             const i32* pages, u32 head, u32 query0, float* out) {
  typedef HeadMap<C> Map;
  {
    Running<Map::kDims> run[kQueries];
    attend_keys<C, kQueries>(c, s, cache, pages, head / (C::kHeads / C::kKvHeads), query0, run);
    for (u32 j = 0; j < kQueries; j++) {
      join_lanes(run[j], 8);
      join_lanes(run[j], 16);
      if (c.lane < 8) {
        float* value = s.values + (c.warp * C::kQueryBlock + j) * C::kD;
        for (u32 i = 0; i < Map::kDims; i++) value[Map::dim(c.lane, i)] = run[j].value[i];
        float* stats = s.stats + (c.warp * C::kQueryBlock + j) * 2;
        if (c.lane == 0) {
          stats[0] = run[j].maximum;
          stats[1] = run[j].sum;
        }
      }
    }
  }
  consumer_barrier();
  for (u32 e = c.thread; e < kQueries * C::kD; e += kConsumerThreads) {
    u32 j = e / C::kD, d = e % C::kD;
    if (query0 + j >= c.tokens) continue;
    float maximum = kMinusInfinity, sum = 0.0f, value = 0.0f;
    for (u32 w = 0; w < kConsumerWarps; w++) {
      maximum = m_max(maximum, s.stats[(w * C::kQueryBlock + j) * 2]);
    }
    for (u32 w = 0; w < kConsumerWarps; w++) {
      const u32 at = w * C::kQueryBlock + j;
      float keep = exp2_fast(s.stats[at * 2] - maximum);
      sum += s.stats[at * 2 + 1] * keep;
      value += s.values[at * C::kD + d] * keep;
    }
    value *= reciprocal_fast(sum);
    float* to = out + static_cast<u64>(query0 + j) * C::kOutStride + head * C::kD + d;
    //flags: if (C::kOutFlagged && kQueries == 1 && c.tokens == 1) {
    //flags:   if (!is_aborted(c)) store_word(c, word_at(to), f32_to_bits(value));
    //flags:   continue;
    //flags: }
    store_attended(to, value);
  }
}

template <class C> MPK_DEVICE const typename C::Gain* head_gain(const Context& c, const u32* ops,
                                                                u32 which) {
  const u32 word = which == 0 ? ops[C::kQGainOperand] : ops[C::kKGainOperand];
  return in_resident<typename C::Gain>(c, word);
}

// What a row of q, k or v (`which` 0, 1, 2) needs beside its numbers; one token has it before them.
template <class C> struct RowNeeds {
  HeadTurn<C> turn;
  HeadGains<C> gains;

  MPK_DEVICE void prepare(const Context& c, const u32* ops, u32 which, u32 position) {
    if (which == 2) return;
    turn.prepare(c.lane, position);
    if (C::kQkNorm) gains.load(head_gain<C>(c, ops, which), c.lane);
  }
};

// A token's row of head `head` of q, k or v.
template <class C>
MPK_DEVICE void load_operand(HeadRow<C>& row, const Context& c, const u32* ops, u32 which, u32 token,
                             u32 head) {
  if (which == 0) {
    row.load(in_scratch<typename C::Q>(c, ops[C::kQOperand]) +
                 static_cast<u64>(token) * C::kQStride + head * C::kD, c.lane);
  } else if (which == 1) {
    row.load(in_scratch<typename C::K>(c, ops[C::kKOperand]) +
                 static_cast<u64>(token) * C::kKStride + head * C::kD, c.lane);
  } else {
    row.load(in_scratch<typename C::V>(c, ops[C::kVOperand]) +
                 static_cast<u64>(token) * C::kVStride + head * C::kD, c.lane);
  }
}

// One warp: a token's row to shared memory.
template <class C>
MPK_DEVICE void prepare_row(const Context& c, const u32* ops, const AttentionShared<C>& s, u32 head,
                            u32 which, u32 token, const RowNeeds<C>& needs) {
  HeadRow<C> row;
  //flags: if (poll_row<C>(c, ops, head, which, row)) {} else
  load_operand<C>(row, c, ops, which, token, which == 0 ? head : head / (C::kHeads / C::kKvHeads));
  if (which < 2) {
    row.norm(needs.gains);
    row.turn(needs.turn);
  }
  if (which == 0) {
    row.store_f32(s.q + token * C::kD, c.lane, C::kScale * 1.4426950408889634f);
  } else {
    row.store_bf16((which == 1 ? s.k : s.v) + token * C::kD, c.lane);
  }
}

// The first head of a group appends the step's rows of k and v to the cache, each by the warp that
// prepared it, after the results have gone: nobody reads them before the next step.
template <class C>
MPK_DEVICE void append_rows(const Context& c, const u16* k, const u16* v, u16* cache,
                            const i32* pages, u32 kvHead) {
  for (u32 item = c.warp; item < 3 * c.tokens; item += kConsumerWarps) {
    const u32 token = item / 3, which = item % 3, position = c.position + token, at = c.lane * 8;
    if (which == 0 || at >= C::kD) continue;
    const u16* from = (which == 1 ? k : v) + token * C::kD + at;
    const u64 row = cache_row<C>(page_of(c, pages, position), position, which - 1, kvHead);
    store_vec4(cache + row + at, *reinterpret_cast<const Vec4*>(from));
  }
  warp_barrier();  // the next head's rows take their place
}

// Past rows into L2, the latest ones, those before `from` apart.
template <class C>
MPK_DEVICE void prefetch_past(const Context& c, const u16* cache, const i32* pages, u32 kvHead,
                              u32 from) {
  constexpr u32 kLines = (C::kD * 2 + 127) / 128, kMost = 512;  // rows
  const u32 window = C::kWindow && C::kWindow < kMost ? C::kWindow : kMost;
  const u32 latest = c.position > window ? c.position - window : 0;
  const u32 first = from > latest ? from : latest;
  if (first >= c.position) return;
  for (u32 i = c.thread; i < (c.position - first) * 2 * kLines; i += kConsumerThreads) {
    const u32 line = i % kLines, isValue = i / kLines & 1u, position = first + i / (2 * kLines);
    const u64 row = cache_row<C>(page_of(c, pages, position), position, isValue, kvHead);
    prefetch_l2(cache + row + line * 64);
  }
}

template <class C> MPK_DEVICE void run_attention_of_many(Context& c, const u32* in) {
  const u32* ops = operands(in);
  const AttentionShared<C> s(c.work);
  u16* cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256);
  const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
  constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  // Past rows, rotations and gains do not depend on this step's operands: all are had, or on their
  // way to L2, while the task waits for its query.
  RowNeeds<C> needs = {};
  const bool one = c.tokens == 1;
  prefetch_past<C>(c, cache, pages, in[kWordTileLo] / kGroup, 0);
  if (one && c.warp < 3) needs.prepare(c, ops, c.warp, c.position);
  begin_task(c, in);
  float* out = in_scratch<float>(c, ops[C::kOutOperand]);
  //flags: if (C::kOutFlagged && one) out = in_copy<float>(c, ops[C::kOutFlag]);
  for (u32 head = in[kWordTileLo]; head < in[kWordTileHi]; head++) {
    for (u32 item = c.warp; item < 3 * c.tokens; item += kConsumerWarps) {
      const u32 token = item / 3, which = item % 3;
      if (!one || item != c.warp) needs.prepare(c, ops, which, c.position + token);
      prepare_row<C>(c, ops, s, head, which, token, needs);
    }
    consumer_barrier();
    //flags: //profile: if (one) mark_ready(c, head);
    constexpr u32 kFits = MPK_FEW_KEYS && C::kQueryBlock > 2 ? 2 : C::kQueryBlock;
    constexpr u32 kBlock = kFits < kMaxTokens ? kFits : kMaxTokens;
    for (u32 query = 0; query < c.tokens; query += kBlock) {
      if (query > 0) consumer_barrier();  // the sums of the block before have been read
      attend_block<C, kBlock>(c, s, cache, pages, head, query, out);
    }
    if (head % kGroup == 0) append_rows<C>(c, s.k, s.v, cache, pages, head / kGroup);
  }
  end_task(c, in);
}
