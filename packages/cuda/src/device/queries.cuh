// Attention of the several tokens of a step, or of one with a wide head, one query head a task. Each
// warp has eight queries and all of their keys, or every so many units of them where the step has
// queries for few warps.

// How the warps share the queries from `first` octet on: warp w has octet w mod octets, and of its
// units every splits-th, this step's that it sees before those of the past. All of it is computed anew
// where it is needed: registers are few.
struct QuerySharing {
  u32 octets, splits, octet, split;
  MPK_DEVICE QuerySharing(const Context& c, u32 first) {
    const u32 left = (c.tokens + 7) / 8 - first;
    octets = left < kConsumerWarps ? left : kConsumerWarps;
    splits = kConsumerWarps / octets;
    octet = c.warp % octets;
    split = c.warp / octets;  // a warp left over has none
  }
};

// A row of q, k or v, normed and turned, to shared memory; the group's first head appends k and v.
template <class C>
MPK_DEVICE void put_row(const Context& c, const QueryShared<C>& s, u16* cache, const i32* pages,
                        u32 head, u32 which, u32 token, HeadRow<C>& row) {
  constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  const u32 position = c.position + token;
  if (which == 0) {
#pragma unroll
    for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
      row.low[i] *= C::kScale * 1.4426950408889634f;
      row.high[i] *= C::kScale * 1.4426950408889634f;
    }
    row.store_bf16(reinterpret_cast<u16*>(s.row(0, token)), c.lane);
#pragma unroll
    for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
      row.low[i] -= round_bf16(row.low[i]);
      row.high[i] -= round_bf16(row.high[i]);
    }
  }
  row.store_bf16(reinterpret_cast<u16*>(s.row(1 + which, token)), c.lane);
  if (which == 0 || head % kGroup != 0) return;
  const u64 at = cache_row<C>(page_of(c, pages, position), position, which - 1, head / kGroup);
  row.store_bf16(cache + at, c.lane);
}

// A token's rows of q, k and v, as they come.
template <class C> struct TokenRows {
  HeadRow<C> rows[3];

  MPK_DEVICE void load(const Context& c, const u32* ops, u32 head, u32 token) {
#pragma unroll
    for (u32 which = 0; which < 3; which++) {
      //flags: if (poll_row<C>(c, ops, head, which, rows[which])) continue;
      load_operand<C>(rows[which], c, ops, which, token,
                      which == 0 ? head : head / (C::kHeads / C::kKvHeads));
    }
  }
};

// All warps: the step's rows of a head, each warp those of every so many tokens, the next one's on
// their way. `turn`: of this warp's first token.
template <class C>
MPK_DEVICE void put_rows(const Context& c, const u32* in, u32 head, HeadTurn<C> turn) {
  const u32* ops = operands(in);
  const QueryShared<C> s(c.work);
  u16* cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256);
  const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
  if (c.warp >= c.tokens) return;
  TokenRows<C> next;
  next.load(c, ops, head, c.warp);
#pragma unroll 1
  for (u32 token = c.warp; token < c.tokens; token += kConsumerWarps) {
    TokenRows<C> now = next;
    if (token + kConsumerWarps < c.tokens) next.load(c, ops, head, token + kConsumerWarps);
    if (token >= kConsumerWarps) turn.prepare(c.lane, c.position + token);
#pragma unroll
    for (u32 which = 0; which < 3; which++) {
      if (which < 2) {
        HeadGains<C> gains = {};
        if (C::kQkNorm) gains.load(head_gain<C>(c, ops, which), c.lane);
        now.rows[which].norm(gains);
        now.rows[which].turn(turn);
      }
      put_row<C>(c, s, cache, pages, head, which, token, now.rows[which]);
    }
  }
}

// Joins the warps' sums in the order of splits, and writes the rows of the head.
template <class C>
MPK_DEVICE void finish_queries(const Context& c, const QueryShared<C>& s, const QuerySharing& by,
                               u32 octet0, QueryWarp<C>& warp, float* out) {
  typedef QueryShared<C> Shared;
  const bool active = by.split < by.splits;
  const u32 q = c.lane & 3u;
  warp.sums.close();
  if (active && c.lane < 4) {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float* stats = s.stats + (c.warp * 8 + 2 * q + e) * 2;
      stats[0] = warp.sums.maximum[e];
      stats[1] = warp.sums.sum[e];
    }
  }
  consumer_barrier();  // all rows have been read, too
  float scale[2];
#pragma unroll
  for (u32 e = 0; e < 2; e++) {
    const float* stats = s.stats + (by.octet * 8 + 2 * q + e) * 2;
    float most = kMinusInfinity, sum = 0.0f;
    for (u32 w = 0; w < by.splits; w++) most = m_max(most, stats[w * by.octets * 16]);
    for (u32 w = 0; w < by.splits; w++) {
      sum += stats[w * by.octets * 16 + 1] * exp2_fast(stats[w * by.octets * 16] - most);
    }
    scale[e] = exp2_fast(warp.sums.maximum[e] - most) / sum;
  }
#pragma unroll
  for (u32 d0 = 0; d0 < C::kD; d0 += Shared::kMergeDims) {
    if (d0 > 0) consumer_barrier();
#pragma unroll
    for (u32 i = 0; i < Shared::kMergeDims; i += 16) {
      const u32 tile = (d0 + i) / 16;
      if (!active || tile >= 2 * QueryMap<C>::kBlocks) break;
      float* to = s.values + (c.warp * 8 + 2 * q) * Shared::kStride;
#pragma unroll
      for (u32 half = 0; half < 2; half++) {
        const u32 d = QueryMap<C>::dim(tile, half * 8 + (c.lane >> 2)) - d0;
        to[d] = warp.sums.value[tile][2 * half] * scale[0];
        to[Shared::kStride + d] = warp.sums.value[tile][2 * half + 1] * scale[1];
      }
    }
    consumer_barrier();
    const u32 width = C::kD - d0 < Shared::kMergeDims ? C::kD - d0 : Shared::kMergeDims;
    for (u32 e = c.thread; e < by.octets * 8 * width; e += kConsumerThreads) {
      const u32 d = e % width, own = e / width, token = octet0 * 8 + own;
      if (token >= c.tokens) continue;
      float value = 0.0f;
      for (u32 w = 0; w < by.splits; w++) {
        value += s.values[(w * by.octets * 8 + own) * Shared::kStride + d];
      }
      //flags: if (C::kOutFlagged && c.tokens == 1) {
      //flags:   if (!is_aborted(c)) store_word(c, word_at(out + d0 + d), f32_to_bits(value));
      //flags:   continue;
      //flags: }
      //few: if (C::kRoundsFew && c.tokens > 1) {
      //few:   u16* rounded = reinterpret_cast<u16*>(out);
      //few:   store_one(rounded + static_cast<u64>(token) * C::kOutStride + d0 + d, value);
      //few:   continue;
      //few: }
      //many: if (C::kRounds) {
      //many:   u16* rounded = reinterpret_cast<u16*>(out);
      //many:   store_one(rounded + static_cast<u64>(token) * C::kOutStride + d0 + d, value);
      //many:   continue;
      //many: }
      store_attended(out + static_cast<u64>(token) * C::kOutStride + d0 + d, value);
    }
  }
}

// A warp's i-th unit, if it has so many; where the past is staged, of this step's alone.
template <class C>
MPK_DEVICE bool take_unit(const Context& c, const u32* in, u32 head, u32 octet0, u32 i, bool staged,
                          QueryWarp<C>& warp) {
  const QuerySharing by(c, octet0);
  if (by.split >= by.splits) return false;
  const u32 token0 = (octet0 + by.octet) * 8, last = token0 + 8 < c.tokens ? token0 + 8 : c.tokens;
  const u32 own = (last + 31) / 32, first = first_seen<C>(c.position + token0) / 32;
  const u32 past = staged ? 0 : (c.position + 31) / 32, unit = by.split + i * by.splits;
  if (unit >= own + (past > first ? past - first : 0)) return false;
  const u32 base = unit < own ? c.position + unit * 32 : (first + unit - own) * 32;
  UnitRows rows;
  if (unit < own) {
    rows.own<C>(c, QueryShared<C>(c.work), unit * 32);
  } else {
    rows.past<C>(c, in, head / (C::kHeads / C::kKvHeads), base);
  }
  warp.take(c, rows, token0, base, unit < own ? c.position + c.tokens : c.position);
  return true;
}

// With queries for most warps all of them take the same units of the past, in the same order: each
// thread brings a part of the next one to shared memory, in place of this step's rows.
template <class C> struct StagedUnit {
  typedef QueryMap<C> Map;
  // Two units have room: the plan's steps may have so many tokens.
  static constexpr bool kHas = Map::kRows >= 64;
  static constexpr u32 kBytes = 32 * Map::kRowBytes;  // of its keys, or of its values
  static constexpr u32 kPerRow = C::kD / 8, kAll = 2 * 32 * kPerRow;
  static constexpr u32 kMine = (kAll + kConsumerThreads - 1) / kConsumerThreads;
  Vec4 piece[kMine];

  MPK_DEVICE static bool fits(const Context& c) {
    const u32 octets = (c.tokens + 7) / 8;
    return kHas && octets <= kConsumerWarps && 2 * octets > kConsumerWarps;
  }
  MPK_DEVICE static u8* at(const Context& c, u32 unit) {
    return QueryShared<C>(c.work).row(2, 0) + (unit & 1u) * (2 * kBytes);
  }
  MPK_DEVICE void load(const Context& c, const u32* in, u32 kvHead, u32 unit) {
    const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
    const u16* cache =
        reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(operands(in)[C::kStateOperand]) * 256);
#pragma unroll
    for (u32 i = 0; i < kMine; i++) {
      const u32 e = c.thread + i * kConsumerThreads, row = e / kPerRow;
      u32 key = unit * 32 + row % 32;
      if (key >= c.position) key = c.position - 1;
      piece[i] = load_vec4(cache + cache_row<C>(page_of(c, pages, key), key, row / 32 & 1u, kvHead) +
                           e % kPerRow * 8);
    }
  }
  MPK_DEVICE void store(const Context& c, u32 unit) const {
#pragma unroll
    for (u32 i = 0; i < kMine; i++) {
      const u32 e = c.thread + i * kConsumerThreads, row = e / kPerRow;
      if (e >= kAll) break;
      *reinterpret_cast<Vec4*>(at(c, unit) + row * Map::kRowBytes + e % kPerRow * 16) = piece[i];
    }
  }
};

// All warps: the units of the past, for the octet of each.
template <class C>
MPK_DEVICE void take_past(Context& c, const u32* in, u32 head, QueryWarp<C>& warp) {
  const u32 kvHead = head / (C::kHeads / C::kKvHeads), end = (c.position + 31) / 32;
  u32 unit = first_seen<C>(c.position) / 32;
  if (unit >= end) return;
  StagedUnit<C> staged;
  staged.load(c, in, kvHead, unit);
  consumer_barrier();  // this step's rows have been read
  staged.store(c, unit);
  consumer_barrier();
#pragma unroll 1
  for (; unit < end; unit++) {
    forget(c.thread);
    forget(c.lane);
    forget(c.position);
    const bool more = unit + 1 < end;
    if (more) staged.load(c, in, kvHead, unit + 1);
    const QuerySharing by(c, 0);
    if (by.split == 0) {
      UnitRows rows;
      rows.keys = StagedUnit<C>::at(c, unit);
      rows.values = rows.keys + StagedUnit<C>::kBytes;
#pragma unroll
      for (u32 i = 0; i < 4; i++) rows.at[i] = (i * 8 + (c.lane >> 2)) * (QueryMap<C>::kRowBytes / 16);
      warp.take(c, rows, by.octet * 8, unit * 32, c.position);
    }
    if (more) staged.store(c, unit + 1);
    consumer_barrier();
  }
}

template <class C> MPK_DEVICE void run_attention_of_many(Context& c, const u32* in) {
  // What follows from the step alone would be computed once for all layers, its registers missing
  // everywhere.
  forget(c.position);
  forget(c.tokens);
  constexpr bool kTurnsEarly = C::kD <= 128;  // registers are few beside wide heads' sums
  HeadTurn<C> turn = {};
  if (kTurnsEarly) turn.prepare(c.lane, c.position + c.warp);
  const u32* ops = operands(in);
  prefetch_past<C>(
      c, reinterpret_cast<const u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256),
      reinterpret_cast<const i32*>(c.params->pageTable),
      in[kWordTileLo] / (C::kHeads / C::kKvHeads), 0);
  begin_task(c, in);
  for (u32 head = in[kWordTileLo]; head < in[kWordTileHi]; head++) {
    // All of a step's at once, mostly: one value less to hold. (ptxas spills more where registers are many.)
    constexpr bool kOnce = kFewRegisters && kMaxTokens <= 8 * kConsumerWarps;
    for (u32 octet0 = 0; octet0 < (kOnce ? 1 : (c.tokens + 7) / 8); octet0 += kConsumerWarps) {
      if (head > in[kWordTileLo] || octet0 > 0) consumer_barrier();
      if (!kTurnsEarly) turn.prepare(c.lane, c.position + c.warp);
      put_rows<C>(c, in, head, turn);
      consumer_barrier();
      //flags: //profile: if (c.tokens == 1) mark_ready(c, head);
      QueryWarp<C> warp;
      warp.sums.clear();
#pragma unroll 1
      for (u32 i = 0;; i++) {
        forget(c.warp);
        forget(c.lane);
        forget(c.tokens);
        forget(c.position);
        if (!take_unit<C>(c, in, head, octet0, i, StagedUnit<C>::fits(c), warp)) break;
      }
      if (StagedUnit<C>::kHas && StagedUnit<C>::fits(c)) take_past<C>(c, in, head, warp);
      forget(c.warp);
      forget(c.thread);
      float* out = in_scratch<float>(c, operands(in)[C::kOutOperand]);
      //flags: if (C::kOutFlagged && c.tokens == 1) out = in_copy<float>(c, operands(in)[C::kOutFlag]);
      //few: if (C::kRoundsFew && c.tokens > 1) out -= head * C::kD / 2;  // a head has half the bytes
      //many: if (C::kRounds) out -= head * C::kD / 2;  // a head has half the bytes
      finish_queries<C>(c, QueryShared<C>(c.work), QuerySharing(c, octet0), octet0, warp,
                        out + head * C::kD);
    }
  }
  end_task(c, in);
}
