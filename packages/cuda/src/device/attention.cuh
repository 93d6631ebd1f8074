// Causal attention of one query head over the paged cache and this step's own keys. Norm and RoPE of q
// and k are done in its task; the first query head of a group appends its KV head's new rows. Here is what
// its bodies share: attention_of_one.cuh, attention_of_few.cuh, and queries.cuh for more and wide heads.

// Constants: kHeads, kKvHeads, kD, kScale, kWindow (0: none), kQkNorm, kEps, kRope,
//   kQStride, kKStride, kVStride, kOutStride, operand indices, static float frequency(u32 i).

template <class C> struct HeadMap {
  // Eight lanes share a key; each holds kD / 8 of its dims in pieces of kVec consecutive ones.
  static constexpr u32 kVec = C::kD % 64 == 0 ? 8 : C::kD % 32 == 0 ? 4 : 2;
  static constexpr u32 kPieces = C::kD / 8 / kVec;
  static constexpr u32 kDims = C::kD / 8;
  MPK_DEVICE static u32 dim(u32 sub, u32 i) { return (i / kVec * 8 + sub) * kVec + i % kVec; }
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

// base-2 softmax: scores carry log2(e) already.
constexpr float kMinusInfinity = -1e30f;

// Physical page of a position: the first pages are in shared memory, the rest in L1 and L2.
MPK_DEVICE i32 page_of(const Context& c, const i32* pages, u32 position) {
  const u32 page = position / kPageTokens;
  if (page < kSharedPages) return c.shared->pages[page];
  return static_cast<i32>(load_const_u32(reinterpret_cast<const u32*>(pages + page)));
}

// First position that the query at `at` sees.
template <class C> MPK_DEVICE u32 first_seen(u32 at) {
  return C::kWindow && at + 1 > C::kWindow ? at + 1 - C::kWindow : 0;
}

MPK_DEVICE void store_attended(float* to, float value) { *to = value; }

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
#pragma unroll 1
  for (u32 i = c.thread; i < (c.position - first) * 2 * kLines; i += kConsumerThreads) {
    const u32 line = i % kLines, isValue = i / kLines & 1u, position = first + i / (2 * kLines);
    const u64 row = cache_row<C>(page_of(c, pages, position), position, isValue, kvHead);
    prefetch_l2(cache + row + line * 64);
  }
}
