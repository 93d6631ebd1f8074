// Attention in two ops. A part: all query heads of one KV head over one split of the positions; the
// split numbered 0 appends this step's rows. The merge: the parts of a head in the order of splits.

// Constants of a part: those of attention but kQueryBlock, then kSplits and kMergeDims. The cache is
// as for attention, but each kUnitKeys rows of a page are a unit; see UnitMap.

// Columns of one part: weighted values of the group's heads, then (maximum, sum) of each.
template <class C> constexpr u32 kPartColumns = C::kHeads / C::kKvHeads * (C::kD + 2);

// Shared memory: eight queries in two bf16 terms, then each warp's (maximum, sum) of every query, and
// a run of kMergeDims of its weighted values.
template <class C> struct PartShared {
  static constexpr u32 kStride = C::kMergeDims + 4;  // lanes of a quad in different banks
  u8* query;
  float* stats;   // [warp][query][2]
  float* values;  // [warp][query][kStride]
  MPK_DEVICE explicit PartShared(u8* work) {
    query = work;
    stats = reinterpret_cast<float*>(query + UnitMap<C>::kQueryBytes);
    values = stats + kConsumerWarps * 16;
  }
};

// Where a part's operands are.
template <class C> struct PartPlace {
  u16* cache;
  const i32* pages;
  u32 kvHead, split;

  MPK_DEVICE i32 page(const Context& c, u32 unit) const {
    return page_of(c, pages, unit * kUnitKeys);
  }
  // First key of a unit, or the first of its values.
  MPK_DEVICE u16* unit(i32 page, u32 unit, u32 isValue) const {
    return cache + cache_row<C>(page, unit * kUnitKeys, isValue, kvHead);
  }
};

// The units of a split, in the order in which warps take turns with them: the full ones of its share,
// then, of split 0, those that this step's tokens are in.
template <class C> struct PartUnits {
  u32 first, past, total, fresh;

  MPK_DEVICE PartUnits(const Context& c, u32 split) {
    const u32 lo = first_seen<C>(c.position) / kUnitKeys, turn = C::kSplits - 1 - split;
    fresh = c.position / kUnitKeys;
    first = lo + (turn + C::kSplits - lo % C::kSplits) % C::kSplits;
    past = first < fresh ? (fresh - first - 1) / C::kSplits + 1 : 0;
    const u32 end = (c.position + c.tokens - 1) / kUnitKeys + 1;
    total = past + (split == 0 ? end - fresh : 0);
  }
  MPK_DEVICE u32 at(u32 i) const { return i < past ? first + i * C::kSplits : fresh + i - past; }
};

// Scores of keys that a query does not see.
template <class C>
MPK_DEVICE void hide_keys(const Context& c, u32 base, u32 column0, float (&score)[2][4]) {
#pragma unroll
  for (u32 i = 0; i < 8; i++) {
    const u32 tile = i >> 2, half = (i >> 1) & 1u, e = i & 1u;
    const u32 key = base + tile * 16 + half * 8 + (c.lane >> 2);
    const u32 at = c.position + (column0 + (c.lane & 3u) * 2 + e) / UnitMap<C>::kGroup;
    const bool seen = key <= at && (C::kWindow == 0 || key + C::kWindow > at);
    if (!seen) score[tile][2 * half + e] = kMinusInfinity;
  }
}

// A warp's units of a split for eight queries. A full unit is on its way to L2 while the one before
// is computed, the first one before there are queries: registers to load it ahead are missing.
template <class C> struct PartWarp {
  typedef UnitMap<C> Map;
  UnitKeys<C> keys;
  UnitValues<C> values;
  i32 page, next;  // of this unit and of the one after it

  MPK_DEVICE void prefetch(const PartPlace<C>& place, i32 from, u32 unit, u32 lane) {
    for (u32 word = lane * 64; word < kUnitKeys * C::kD; word += 32 * 64) {
      prefetch_l2(place.unit(from, unit, 0) + word);
      prefetch_l2(place.unit(from, unit, 1) + word);
    }
  }

  MPK_DEVICE void prepare(const Context& c, const PartPlace<C>& place, const PartUnits<C>& units) {
    if (c.warp < units.total) page = place.page(c, units.at(c.warp));
    if (c.warp < units.past) prefetch(place, page, units.at(c.warp), c.lane);
  }

  MPK_DEVICE void score(const PartPlace<C>& place, const PartShared<C>& s, u32 unit, u32 lane,
                        float (&score)[2][4]) {
#pragma unroll
    for (u32 first = 0; first < Map::kSteps; first += Map::kKeySteps) {
      keys.load(place.unit(page, unit, 0), first, lane);
      keys.multiply(s.query, first, lane, score);
    }
  }

  MPK_DEVICE void run(const Context& c, const PartPlace<C>& place, const PartShared<C>& s,
                      const PartUnits<C>& units, u32 column0, UnitSums<C>& sums) {
    for (u32 i = c.warp; i < units.total; i += kConsumerWarps) {
      const u32 unit = units.at(i), base = unit * kUnitKeys, after = i + kConsumerWarps;
      const bool fresh = i >= units.past;
      const u32 count = c.position + c.tokens - base;  // keys of a fresh unit
      if (after < units.total) next = place.page(c, units.at(after));
      if (after < units.past) prefetch(place, next, units.at(after), c.lane);
      float p[2][4] = {};
      score(place, s, unit, c.lane, p);
      values.load(place.unit(page, unit, 1), 0, c.lane);
      if (fresh || C::kWindow > 0) hide_keys<C>(c, base, column0, p);
      sums.take(p);
      UnitWeights weights;
      weights.pack(p);
#pragma unroll
      for (u32 first = 0; first < Map::kSteps; first += Map::kValueTiles) {
        if (first > 0) values.load(place.unit(page, unit, 1), first, c.lane);
        if (fresh) values.clip(count, c.lane);
        values.multiply(weights, first, sums.value);
      }
      page = next;
    }
  }
};

// One warp: a row to `to` as bf16, its dim d at word `at(d)`.
template <class C, class At>
MPK_DEVICE void scatter_row(const HeadRow<C>& row, u32 lane, u16* to, At at) {
  typedef HeadPairs<C> Pairs;
#pragma unroll
  for (u32 i = 0; i < Pairs::kCount; i++) {
    if (!Pairs::has(lane, i)) continue;
    const u32 d = Pairs::dim(lane, i);
    to[at(d)] = f32_to_bf16(row.low[i]);
    to[at(d + Pairs::kHalf)] = f32_to_bf16(row.high[i]);
  }
}

// One warp: a query, scaled, to shared memory in two bf16 terms.
template <class C>
MPK_DEVICE void store_query(const PartShared<C>& s, u32 column, u32 lane, HeadRow<C>& row) {
  u16* query = reinterpret_cast<u16*>(s.query);
#pragma unroll
  for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
    row.low[i] *= C::kScale * 1.4426950408889634f;
    row.high[i] *= C::kScale * 1.4426950408889634f;
  }
  scatter_row<C>(row, lane, query, [=](u32 d) { return UnitMap<C>::of_query(column, d); });
#pragma unroll
  for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
    row.low[i] -= round_bf16(row.low[i]);
    row.high[i] -= round_bf16(row.high[i]);
  }
  scatter_row<C>(row, lane, query, [=](u32 d) { return UnitMap<C>::of_query(column, d) + 4; });
}

// One warp: this step's key (`which` 1) or value (2) row of a token into the cache.
template <class C>
MPK_DEVICE void append_row(const Context& c, const u32* ops, const PartPlace<C>& place, u32 which,
                           u32 token, const HeadTurn<C>& turn) {
  const u32 position = c.position + token, key = position % kUnitKeys;
  const i32 page = page_of(c, place.pages, position);
  u16* unit = place.unit(page, position / kUnitKeys, which - 1);
  HeadRow<C> row;
  HeadGains<C> gains = {};
  if (C::kQkNorm && which == 1) gains.load(head_gain<C>(c, ops, 1), c.lane);
  //flags: if (!poll_row<C>(c, ops, place.kvHead * UnitMap<C>::kGroup, which, row))
  load_operand<C>(row, c, ops, which, token, place.kvHead);
  if (which == 2) {
    scatter_row<C>(row, c.lane, unit, [=](u32 d) { return UnitMap<C>::of_value(key, d); });
    return;
  }
  row.norm(gains);
  row.turn(turn);
  scatter_row<C>(row, c.lane, unit, [=](u32 d) { return UnitMap<C>::of_key(key, d); });
}

// All warps: queries of columns [column0, column0 + columns) to shared memory; with the first ones,
// split 0 appends the step's rows. `turn` is a single token's.
template <class C>
MPK_DEVICE void prepare_part(const Context& c, const u32* ops, const PartPlace<C>& place,
                             const PartShared<C>& s, u32 column0, u32 columns, HeadTurn<C>& turn) {
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  const u32 rows = column0 == 0 && place.split == 0 ? 2 * c.tokens : 0;
  for (u32 item = c.warp; item < columns + rows; item += kConsumerWarps) {
    const u32 column = column0 + item, row = item - columns;
    const u32 token = item < columns ? column / kGroup : row / 2;
    if (c.tokens > 1) turn.prepare(c.lane, c.position + token);
    if (item >= columns) {
      append_row<C>(c, ops, place, 1 + row % 2, token, turn);
      continue;
    }
    HeadRow<C> query;
    HeadGains<C> gains = {};
    if (C::kQkNorm) gains.load(head_gain<C>(c, ops, 0), c.lane);
    const u32 head = place.kvHead * kGroup + column % kGroup;
    //flags: if (!poll_row<C>(c, ops, head, 0, query))
    load_operand<C>(query, c, ops, 0, token, head);
    query.norm(gains);
    query.turn(turn);
    store_query<C>(s, item, c.lane, query);
  }
}

// A float of a part, or of the merged result.
template <class C> MPK_DEVICE void store_joined(const Context& c, float* to, float value) {
  //flags: if (C::kOutFlagged && c.tokens == 1) {
  //flags:   if (!is_aborted(c)) store_word(c, word_at(to), f32_to_bits(value));
  //flags:   return;
  //flags: }
  *to = value;
}

// Where a task writes: the row of this step's copy where that is what readers poll.
template <class C> MPK_DEVICE float* joined_row(const Context& c, const u32* ops) {
  //flags: if (C::kOutFlagged && c.tokens == 1) return in_copy<float>(c, ops[C::kOutFlag]);
  return in_scratch<float>(c, ops[C::kOutOperand]);
}

// The warps' weighted values, scaled to their common maximum and added in the order of warps.
template <class C>
MPK_DEVICE void store_values(const Context& c, const PartShared<C>& s, const UnitSums<C>& sums,
                             u32 warps, u32 column0, u32 columns, float* part) {
  typedef PartShared<C> Shared;
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  const u32 q = c.lane & 3u, g = c.lane >> 2;
  float scale[2];
#pragma unroll
  for (u32 e = 0; e < 2; e++) {
    float most = kMinusInfinity;
    for (u32 w = 0; w < warps; w++) most = m_max(most, s.stats[(w * 8 + 2 * q + e) * 2]);
    scale[e] = exp2_fast(sums.maximum[e] - most);
  }
#pragma unroll
  for (u32 d0 = 0; d0 < C::kD; d0 += C::kMergeDims) {
    if (d0 > 0) consumer_barrier();
    if (c.warp < warps) {
#pragma unroll
      for (u32 i = 0; i < C::kMergeDims / 16; i++) {
        float* to = s.values + (c.warp * 8 + 2 * q) * Shared::kStride + i * 16 + g;
        const float(&v)[4] = sums.value[d0 / 16 + i];
        to[0] = v[0] * scale[0];
        to[Shared::kStride] = v[1] * scale[1];
        to[8] = v[2] * scale[0];
        to[Shared::kStride + 8] = v[3] * scale[1];
      }
    }
    consumer_barrier();
    for (u32 e = c.thread; e < columns * C::kMergeDims; e += kConsumerThreads) {
      const u32 d = e % C::kMergeDims, own = e / C::kMergeDims, column = column0 + own;
      float value = 0.0f;
      for (u32 w = 0; w < warps; w++) value += s.values[(w * 8 + own) * Shared::kStride + d];
      float* row = part + static_cast<u64>(column / kGroup) * C::kOutStride;
      store_joined<C>(c, row + column % kGroup * C::kD + d0 + d, value);
    }
  }
}

// Joins the sums of the first `warps` warps and writes `columns` columns of the part; without any,
// no values, but sums of 0.
template <class C>
MPK_DEVICE void finish_part(const Context& c, const PartShared<C>& s, UnitSums<C>& sums, u32 warps,
                            u32 column0, u32 columns, float* part) {
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  sums.close();
  if (c.lane < 4) {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float* stats = s.stats + (c.warp * 8 + 2 * c.lane + e) * 2;
      stats[0] = sums.maximum[e];
      stats[1] = sums.sum[e];
    }
  }
  consumer_barrier();
  if (c.thread < columns) {
    const u32 column = column0 + c.thread;
    float most = kMinusInfinity, sum = 0.0f;
    for (u32 w = 0; w < warps; w++) most = m_max(most, s.stats[(w * 8 + c.thread) * 2]);
    for (u32 w = 0; w < warps; w++) {
      const float* stats = s.stats + (w * 8 + c.thread) * 2;
      sum += stats[1] * exp2_fast(stats[0] - most);
    }
    // A query that sees none of the keys has summed up what it does not see.
    if (most <= kMinusInfinity) sum = 0.0f;
    float* row = part + static_cast<u64>(column / kGroup) * C::kOutStride;
    store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2, most);
    store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2 + 1, sum);
  }
  if (warps > 0) return store_values<C>(c, s, sums, warps, column0, columns, part);
  //flags: // Every word of a flagged row is written in each step, that of the step before cleared.
  //flags: if (!C::kOutFlagged || c.tokens > 1) return;
  //flags: for (u32 e = c.thread; e < columns * C::kD; e += kConsumerThreads) {
  //flags:   store_joined<C>(c, part + column0 * C::kD + e, 0.0f);
  //flags: }
}

template <class C> MPK_DEVICE void run_attention_part(Context& c, const u32* in) {
  // What follows from the step alone would be computed once for all layers, its registers missing
  // everywhere.
  forget(c.position);
  forget(c.tokens);
  const u32* ops = operands(in);
  const PartShared<C> s(c.work);
  PartPlace<C> place;
  place.cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256);
  place.pages = reinterpret_cast<const i32*>(c.params->pageTable);
  bool begun = false;
  for (u32 tile = in[kWordTileLo]; tile < in[kWordTileHi]; tile++) {
    place.kvHead = tile / C::kSplits;
    place.split = tile % C::kSplits;
    const PartUnits<C> units(c, place.split);
    const u32 warps = units.total < kConsumerWarps ? units.total : kConsumerWarps;
    const u32 all = c.tokens * UnitMap<C>::kGroup;
    for (u32 column0 = 0; column0 < all; column0 += 8) {
      const u32 columns = all - column0 < 8 ? all - column0 : 8;
      // What depends on the thread alone is not worth registers for all columns.
      forget(c.thread);
      forget(c.warp);
      forget(c.lane);
      PartWarp<C> warp = {};
      warp.prepare(c, place, units);
      HeadTurn<C> turn = {};
      if (c.tokens == 1) turn.prepare(c.lane, c.position);
      // Keys and values of earlier steps are on their way while the task waits for its queries.
      if (begun) {
        consumer_barrier();  // the shared memory of the columns before has been read
      } else {
        begin_task(c, in);
        begun = true;
      }
      if (units.total > 0) {
        prepare_part<C>(c, ops, place, s, column0, columns, turn);
        consumer_barrier();
      }
      UnitSums<C> sums;
      sums.clear();
      warp.run(c, place, s, units, column0, sums);
      float* part = joined_row<C>(c, ops) + tile * kPartColumns<C>;
      finish_part<C>(c, s, sums, warps, column0, columns, part);
    }
  }
  end_task(c, in);
}

// Constants of the merge: kHeads, kKvHeads, kD, kSplits, kTile, kPartsStride, kOutStride, operands.

// Several parts of one element of the result, added up: values weighted by 2^(score - most).
struct Joined {
  float most, sum, value;

  MPK_DEVICE void clear() {
    most = kMinusInfinity;
    sum = value = 0.0f;
  }
  MPK_DEVICE void add(float otherMost, float otherSum, float otherValue) {
    if (otherSum == 0.0f) return;  // a split without keys may have written no values
    const float maximum = m_max(most, otherMost);
    const float keep = exp2_fast(most - maximum), weight = exp2_fast(otherMost - maximum);
    most = maximum;
    sum = sum * keep + otherSum * weight;
    value = value * keep + otherValue * weight;
  }
};

// Where the parts of an element of the result are: values and (maximum, sum) of the first split.
template <class C> struct JoinedFrom {
  u32 values, stats;

  MPK_DEVICE explicit JoinedFrom(u32 column) {
    constexpr u32 kGroup = C::kHeads / C::kKvHeads;
    const u32 head = column / C::kD, own = head % kGroup;
    const u32 first = head / kGroup * (C::kSplits * kPartColumns<C>);
    values = first + own * C::kD + column % C::kD;
    stats = first + kGroup * C::kD + 2 * own;
  }
};

// Splits first, first + kStep, ... of one element, several loads in flight.
template <class C, u32 kStep, u32 kBatch>
MPK_DEVICE void join_splits(const float* parts, u32 column, u32 first, Joined& all) {
  const JoinedFrom<C> from(column);
#pragma unroll 1
  for (u32 split0 = first; split0 < C::kSplits; split0 += kBatch * kStep) {
    float m[kBatch], w[kBatch], v[kBatch];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      m[i] = w[i] = v[i] = 0.0f;
      if (split0 + i * kStep >= C::kSplits) continue;
      const u32 at = (split0 + i * kStep) * kPartColumns<C>;
      m[i] = load_f32(parts + from.stats + at);
      w[i] = load_f32(parts + from.stats + at + 1);
      v[i] = load_f32(parts + from.values + at);
    }
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) all.add(m[i], w[i], v[i]);
  }
}

//flags: // The same of flagged parts.
//flags: template <class C, u32 kStep, u32 kBatch>
//flags: MPK_DEVICE void poll_splits(const Context& c, u32 operand, u32 column, u32 first, Joined& all) {
//flags:   const JoinedFrom<C> from(column);
//flags: #pragma unroll 1
//flags:   for (u32 split0 = first; split0 < C::kSplits; split0 += kBatch * kStep) {
//flags:     u32 words[kBatch][3], at[kBatch];
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < kBatch; i++) {
//flags:       const u32 split = split0 + i * kStep;
//flags:       at[i] = (split < C::kSplits ? split : first) * kPartColumns<C>;
//flags:       words[i][0] = look_at<float>(c, operand, from.stats + at[i]);
//flags:       words[i][1] = look_at<float>(c, operand, from.stats + at[i] + 1);
//flags:       words[i][2] = look_at<float>(c, operand, from.values + at[i]);
//flags:     }
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < kBatch; i++) {
//flags:       float got[3];
//flags: #pragma unroll
//flags:       for (u32 j = 0; j < 3; j++) {
//flags:         const u32 word = j < 2 ? from.stats + at[i] + j : from.values + at[i];
//flags:         got[j] = await_one<float>(c, operand, word, words[i][j], C::kPartsOperand);
//flags:       }
//flags:       if (split0 + i * kStep < C::kSplits) all.add(got[0], got[1], got[2]);
//flags:     }
//flags:   }
//flags: }

// A tile of a single token: each warp joins every kConsumerWarps-th split, a column a lane, so that
// one latency brings all; then the warps' sums are added in their order.
template <class C>
MPK_DEVICE void merge_tile_of_one(const Context& c, const u32* ops, u32 tile, float* out) {
  static_assert(C::kTile <= 32, "a column a lane");
  constexpr u32 kMine = (C::kSplits + kConsumerWarps - 1) / kConsumerWarps;
  constexpr u32 kBatch = kMine < 4 ? kMine : 4;
  const u32 column = tile * C::kTile + c.lane;
  float* joined = reinterpret_cast<float*>(c.work) + c.lane;  // [warp][most, sum, value][lane]
  Joined all;
  all.clear();
  if (c.lane < C::kTile && c.warp < C::kSplits) {
    //flags: if (C::kPartsFlagged) {
    //flags:   poll_splits<C, kConsumerWarps, kBatch>(c, ops[C::kPartsFlag], column, c.warp, all);
    //flags: } else
    join_splits<C, kConsumerWarps, kBatch>(in_scratch<float>(c, ops[C::kPartsOperand]), column,
                                           c.warp, all);
  }
  //flags: //profile: if (C::kPartsFlagged) mark_ready(c, tile);
  joined[c.warp * 96] = all.most;
  joined[c.warp * 96 + 32] = all.sum;
  joined[c.warp * 96 + 64] = all.value;
  consumer_barrier();
  if (c.warp > 0 || c.lane >= C::kTile) return;
  for (u32 w = 1; w < kConsumerWarps; w++) {
    all.add(joined[w * 96], joined[w * 96 + 32], joined[w * 96 + 64]);
  }
  store_joined<C>(c, out + column, all.value / all.sum);
}

template <class C> MPK_DEVICE void run_attention_merge(Context& c, const u32* in) {
  constexpr u32 kBatch = C::kSplits < 8 ? C::kSplits : 8;
  const u32* ops = operands(in);
  begin_task(c, in);
  float* out = joined_row<C>(c, ops);
  if (c.tokens == 1) {
    for (u32 tile = in[kWordTileLo]; tile < in[kWordTileHi]; tile++) {
      if (tile > in[kWordTileLo]) consumer_barrier();  // the sums of the tile before have been read
      merge_tile_of_one<C>(c, ops, tile, out);
    }
    end_task(c, in);
    return;
  }
  const float* parts = in_scratch<float>(c, ops[C::kPartsOperand]);
  const u32 lo = in[kWordTileLo] * C::kTile, width = in[kWordTileHi] * C::kTile - lo;
  for (u32 e = c.thread; e < c.tokens * width; e += kConsumerThreads) {
    const u32 row = e / width, column = lo + e % width;
    Joined all;
    all.clear();
    join_splits<C, 1, kBatch>(parts + static_cast<u64>(row) * C::kPartsStride, column, 0, all);
    store_joined<C>(c, out + static_cast<u64>(row) * C::kOutStride + column, all.value / all.sum);
  }
  end_task(c, in);
}
