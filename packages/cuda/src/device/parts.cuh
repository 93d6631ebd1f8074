// A part of attention: all query heads of one KV head over one split of the positions; the split
// numbered 0 appends this step's rows.

// Constants of a part: those of attention, then kSplits and kMergeDims. The cache is
// as for attention, but each 16 rows of a page are fragments; see UnitMap.

// Scores of keys that a query does not see.
template <class C>
MPK_DEVICE void hide_keys(const Context& c, u32 base, u32 column0,
                          float (&score)[UnitMap<C>::kTiles][4]) {
#pragma unroll
  for (u32 i = 0; i < 4 * UnitMap<C>::kTiles; i++) {
    const u32 tile = i >> 2, half = (i >> 1) & 1u, e = i & 1u;
    const u32 key = base + tile * 16 + half * 8 + (c.lane >> 2);
    const u32 at = c.position + (column0 + (c.lane & 3u) * 2 + e) / UnitMap<C>::kGroup;
    const bool seen = key <= at && (C::kWindow == 0 || key + C::kWindow > at);
    if (!seen) score[tile][2 * half + e] = kMinusInfinity;
  }
}

// A warp's chunks of a split for eight queries. Chunk i of a turn is that of warp number i after the
// one whose turn it is in the ring; sums are kept by that number, so that results do not depend on it.
template <class C> struct PartWarp {
  typedef UnitMap<C> Map;
  typedef PartChunks<C> Chunks;
  u32 start;  // number in the ring of the first chunk
  u32 turn;

  MPK_DEVICE PartWarp(const Context& c, u32 chunk) {
    start = chunk;
    turn = (c.warp + kConsumerWarps - chunk % kConsumerWarps) % kConsumerWarps;
  }

  MPK_DEVICE void score(const Context& c, const PartShared<C>& s, const u16* keys, u32 base,
                        u32 column0, UnitSums<C>& sums, UnitWeights<Map::kTiles>& weights) {
    float terms[2][Map::kTiles][4] = {}, p[Map::kTiles][4];
    UnitSide<C> side;
#pragma unroll
    for (u32 first = 0; first < Map::kSteps; first += Map::kAtOnce) {
      side.load(keys, first, c.lane);
      side.score(s.query, first, c.lane, terms);
    }
    trust_loads();
#pragma unroll
    for (u32 i = 0; i < 4 * Map::kTiles; i++) {
      p[i >> 2][i & 3u] = terms[0][i >> 2][i & 3u] + terms[1][i >> 2][i & 3u];
    }
    if (base + Map::kKeys > c.position || C::kWindow > 0) hide_keys<C>(c, base, column0, p);
    sums.take(p);
    weights.pack(p);
  }

  MPK_DEVICE void weigh(const Context& c, const u16* values, u32 base,
                        const UnitWeights<Map::kTiles>& weights, UnitSums<C>& sums) {
    const u32 count = c.position + c.tokens - base;  // keys of a chunk that is not full
    UnitSide<C> side;
#pragma unroll
    for (u32 first = 0; first < Map::kSteps; first += Map::kAtOnce) {
      side.load(values, first, c.lane);
      if (count < Map::kKeys) side.clip(count, c.lane);
      sums.add(side, weights, first);
    }
    trust_loads();
  }

  MPK_DEVICE void run(Context& c, const PartShared<C>& s, const Chunks& chunks, u32 column0,
                      UnitSums<C>& sums) {
    // Set under conditions: without a first value, all these would be live through the step loop.
    UnitWeights<Map::kTiles> weights = {};
    const u32 numbers = chunks.numbers();
    for (u32 i = turn; Chunks::number(i) < numbers; i += kConsumerWarps) {
      u32 at = start + Chunks::number(i);
      const u32 base = chunks.base(i);
      const bool isEmpty = i >= chunks.total;
      wait_full(c, at);
      const u16* side = reinterpret_cast<const u16*>(stage_of(c, at));
      if (!isEmpty) score(c, s, side, base, column0, sums, weights);
      if (Chunks::kPieces == 2) {
        release_stage(c, at);
        at += kConsumerWarps;
        wait_full(c, at);
        side = reinterpret_cast<const u16*>(stage_of(c, at));
      } else {
        side += Map::kSideBytes / 2;
      }
      if (!isEmpty) weigh(c, side, base, weights, sums);
      release_stage(c, at);
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

// One warp: this step's key (`which` 1) or value (2) row of a token into the cache, and a single
// token's into its chunk, which is in the ring from number `start` on, read before the row is written.
template <class C>
MPK_DEVICE void append_row(Context& c, const u32* ops, const PartPlace<C>& place,
                           const PartChunks<C>& chunks, u32 start, u32 which, u32 token,
                           const HeadTurn<C>& turn) {
  typedef UnitMap<C> Map;
  const u32 position = c.position + token, key = position % Map::kKeys;
  u16* tile = place.at(c, position - key) + (which == 2 ? PartPlace<C>::kValues : 0);
  HeadRow<C> row;
  HeadGains<C> gains = {};
  if (C::kQkNorm && which == 1) gains.load(head_gain<C>(c, ops, 1), c.lane);
  //flags: if (!poll_row<C>(c, ops, place.kvHead * Map::kGroup, which, row))
  load_operand<C>(row, c, ops, which, token, place.kvHead);
  if (which == 1) {
    row.norm(gains);
    row.turn(turn);
  }
  const bool isValue = which == 2;
  auto at = [=](u32 d) { return isValue ? Map::of_value(key, d) : Map::of_key(key, d); };
  if (PartChunks<C>::is_placed(c)) {
    const u32 own = start + chunks.placed - 1;
    wait_full(c, own);
    u8* side = stage_of(c, own) + (isValue ? Map::kSideBytes : 0);
    scatter_row<C>(row, c.lane, reinterpret_cast<u16*>(side), at);
    fence_async_shared();  // a bulk copy fills the stage anew
  }
  scatter_row<C>(row, c.lane, tile, at);  // the producer that copies it has a fence of its own
}

// All warps: queries of columns [column0, column0 + columns) to shared memory; with the first ones,
// split 0 appends the step's rows. `turn` is a single token's.
template <class C>
MPK_DEVICE void prepare_part(Context& c, const u32* ops, const PartPlace<C>& place,
                             const PartShared<C>& s, const PartChunks<C>& chunks, u32 start,
                             u32 column0, u32 columns, HeadTurn<C>& turn) {
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  const u32 rows = column0 == 0 && place.split == 0 ? 2 * c.tokens : 0;
  for (u32 item = c.warp; item < columns + rows; item += kConsumerWarps) {
    const u32 column = column0 + item, row = item - columns;
    const u32 token = item < columns ? column / kGroup : row / 2;
    if (c.tokens > 1) turn.prepare(c.lane, c.position + token);
    if (item >= columns) {
      append_row<C>(c, ops, place, chunks, start, 1 + row % 2, token, turn);
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

template <class C> MPK_DEVICE void run_attention_part(Context& c, const u32* in) {
  // What follows from the step alone would be computed once for all layers, its registers missing
  // everywhere.
  forget(c.position);
  forget(c.tokens);
  const u32* ops = operands(in);
  const PartShared<C> s(c.work);
  PartPlace<C> place;
  place.init(c, ops[C::kStateOperand]);
  bool begun = false;
  u32 chunk = c.chunk;
  for (u32 tile = in[kWordTileLo]; tile < in[kWordTileHi]; tile++) {
    place.set(tile);
    const PartChunks<C> chunks(c, place.split);
    const u32 warps = chunks.total < kConsumerWarps ? chunks.total : kConsumerWarps;
    const u32 all = c.tokens * UnitMap<C>::kGroup;
    for (u32 column0 = 0; column0 < all; column0 += 8) {
      const u32 columns = all - column0 < 8 ? all - column0 : 8;
      // What depends on the thread alone is not worth registers for all columns.
      forget(c.thread);
      forget(c.warp);
      forget(c.lane);
      HeadTurn<C> turn = {};
      if (c.tokens == 1) turn.prepare(c.lane, c.position);
      if (begun) {
        consumer_barrier();  // the shared memory of the columns before has been read
      } else {
        begin_task(c, in);
        begun = true;
      }
      if (chunks.total > 0) {
        prepare_part<C>(c, ops, place, s, chunks, chunk, column0, columns, turn);
        consumer_barrier();
        const bool isRead = column0 == 0 && chunks.is_appended(chunks.total - 1);
        if (isRead && c.thread == 0) mbarrier_arrive(&c.shared->appended);
      }
      UnitSums<C> sums;
      sums.clear();
      PartWarp<C> warp(c, chunk);
      warp.run(c, s, chunks, column0, sums);
      chunk += chunks.numbers();
      float* part = joined_row<C>(c, ops) + tile * kPartColumns<C>;
      finish_part<C>(c, s, sums, warp.turn, warps, column0, columns, part);
    }
  }
  c.chunk = chunk;
  end_task(c, in);
}
