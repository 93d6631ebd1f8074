// What parts of attention read of the cache comes through the ring, as weights do: while consumers
// wait for their queries, the past is on its way or on chip. Producer and consumers count chunks alike.

// Constants of a part: see parts.cuh.

// Where a part's keys and values are in the cache.
template <class C> struct PartPlace {
  u16* cache;
  const i32* pages;
  u32 kvHead, split;
  // Of a page and head, a chunk after the other: its keys, then its values.
  static constexpr u32 kValues = UnitMap<C>::kSideBytes / 2;

  MPK_DEVICE void init(const Context& c, u32 state) {
    cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(state) * 256);
    pages = reinterpret_cast<const i32*>(c.params->pageTable);
  }
  MPK_DEVICE void set(u32 tile) {
    kvHead = tile / C::kSplits;
    split = tile % C::kSplits;
  }
  // The chunk that starts at `position`.
  MPK_DEVICE u16* at(i32 page, u32 position) const {
    const u32 inPage = position % kPageTokens / UnitMap<C>::kKeys;
    const u64 run = static_cast<u64>(page) * C::kKvHeads + kvHead;
    return cache + (run * (kPageTokens / UnitMap<C>::kKeys) + inPage) * (2 * kValues);
  }
  MPK_DEVICE u16* at(const Context& c, u32 position) const {
    return at(page_of(c, pages, position), position);
  }
};

// The chunks of a split: those of the full units of its share and, of split 0, those that this step's
// tokens are in. A single token is put into its chunk on chip: then these come first, so that the ring
// has room for them before any is consumed. Else they come last, once the rows have been appended.
template <class C> struct PartChunks {
  static constexpr u32 kKeys = UnitMap<C>::kKeys, kPerUnit = kUnitKeys / kKeys;
  static constexpr u32 kPieces = UnitMap<C>::kPieces, kWarps = kConsumerWarps;
  u32 first, fresh;  // units
  u32 past, total;   // chunks: of full units, and all
  u32 placed;        // those that come first

  // Whether a single token's chunk is read ahead: where its queries take one turn, and the chunk one
  // stage.
  static constexpr bool kPlaces = UnitMap<C>::kGroup <= 8 && kPieces == 1;
  MPK_DEVICE static bool is_placed(const Context& c) { return kPlaces && c.tokens == 1; }

  MPK_DEVICE PartChunks(const Context& c, u32 split) {
    const u32 lo = first_seen<C>(c.position) / kUnitKeys, turn = C::kSplits - 1 - split;
    fresh = c.position / kUnitKeys;
    first = lo + (turn + C::kSplits - lo % C::kSplits) % C::kSplits;
    past = first < fresh ? ((fresh - first - 1) / C::kSplits + 1) * kPerUnit : 0;
    const u32 keys = c.position + c.tokens - fresh * kUnitKeys;
    total = past + (split == 0 ? (keys + kKeys - 1) / kKeys : 0);
    placed = is_placed(c) ? total - past : 0;
  }
  // The position of a chunk's first key.
  MPK_DEVICE u32 base(u32 i) const {
    if (i < placed) return fresh * kUnitKeys + i * kKeys;
    i -= placed;
    if (i >= past) return fresh * kUnitKeys + (i - past) * kKeys;
    return (first + i / kPerUnit * C::kSplits) * kUnitKeys + i % kPerUnit * kKeys;
  }
  // Numbers that they take in the ring. At least one, though it be empty, so that no SM ends a step
  // whose position its producer has not read. Pieces of a chunk go to one warp: then whole rounds.
  MPK_DEVICE u32 numbers() const {
    const u32 least = total > 0 ? total : 1;
    return kPieces == 1 ? least : (least + kWarps - 1) / kWarps * kWarps * 2;
  }
  // The number of a chunk's first piece, the second is a round of warps on; and back.
  MPK_DEVICE static u32 number(u32 i) {
    return kPieces == 1 ? i : i / kWarps * kWarps * 2 + i % kWarps;
  }
  MPK_DEVICE static u32 chunk_of(u32 number) {
    return kPieces == 1 ? number : number / (2 * kWarps) * kWarps + number % kWarps;
  }
  // Whether the chunk holds what this step appends, and comes after that.
  MPK_DEVICE bool is_appended(u32 i) const { return placed == 0 && i >= past && i < total; }
  MPK_DEVICE static bool is_second(u32 number) {
    return kPieces == 2 && number / kWarps % 2 == 1;
  }
};

// Turns that the queries of a step take, eight at a time.
template <class C> MPK_DEVICE u32 query_turns(const Context& c) {
  return (c.tokens * UnitMap<C>::kGroup + 7) / 8;
}

// The producer: `count` chunks of units first, first + kEvery, ... Between two copies lies time lost:
// a unit's place is computed once, and its page has come while the unit before was copied.
template <class C, u32 kEvery>
MPK_DEVICE void produce_units(Context& c, Producer& producer, const PartPlace<C>& place, u32 first,
                              u32 count) {
  constexpr u32 kPerUnit = PartChunks<C>::kPerUnit, kBytes = 2 * UnitMap<C>::kSideBytes;
  if (count == 0) return;
  u32 position = first * kUnitKeys;
  i32 page = page_of(c, place.pages, position);
  for (u32 i = 0; i < count && !producer.leaving; i += kPerUnit) {
    const u8* from = reinterpret_cast<const u8*>(place.at(page, position));
    position += kEvery * kUnitKeys;
    if (i + kPerUnit < count) page = page_of(c, place.pages, position);
    const u32 here = count - i < kPerUnit ? count - i : kPerUnit;
#pragma unroll
    for (u32 j = 0; j < kPerUnit; j++) {
      if (j < here) producer.copy_past(c, from + j * kBytes, kBytes);
    }
  }
}

// The same of one turn of queries, where each chunk is one stage; `awaited`: rows are appended.
template <class C>
MPK_DEVICE void produce_turn(Context& c, Producer& producer, const PartPlace<C>& place,
                             const PartChunks<C>& chunks, bool& awaited) {
  // Full units go round over the splits; those that the step's tokens are in follow one another.
  produce_units<C, 1>(c, producer, place, chunks.fresh, chunks.placed);
  produce_units<C, C::kSplits>(c, producer, place, chunks.first, chunks.past);
  const u32 appended = chunks.total - chunks.past - chunks.placed;
  if (appended > 0 && !awaited && !producer.await_append(c)) return;
  awaited = appended > 0;
  produce_units<C, 1>(c, producer, place, chunks.fresh, appended);
  if (chunks.total == 0) producer.copy_past(c, nullptr, 0);
}

// The same where a chunk's keys are one stage and its values another.
template <class C>
MPK_DEVICE void produce_turn_of_sides(Context& c, Producer& producer, const PartPlace<C>& place,
                                      const PartChunks<C>& chunks, bool& awaited) {
  typedef PartChunks<C> Chunks;
  const u32 numbers = chunks.numbers();
  for (u32 number = 0; number < numbers && !producer.leaving; number++) {
    const u32 i = Chunks::chunk_of(number);
    if (!awaited && chunks.is_appended(i)) {
      if (!producer.await_append(c)) return;
      awaited = true;
    }
    const u16* from = nullptr;
    if (i < chunks.total) {
      from = place.at(c, chunks.base(i)) + (Chunks::is_second(number) ? PartPlace<C>::kValues : 0);
    }
    producer.copy_past(c, reinterpret_cast<const u8*>(from),
                       i < chunks.total ? UnitMap<C>::kSideBytes : 0);
  }
}

// The producer: a task's chunks. It knows the step, which is open; `in` gives the task's words.
template <class C, class Words>
MPK_DEVICE void produce_part(Context& c, Producer& producer, const Words& in) {
  if (!producer.await_step(c)) return;
  PartPlace<C> place;
  const u32 operands = kWordFirstWait + 2 * in.at(kWordWaits) + in.at(kWordSignals);
  place.init(c, in.at(operands + C::kStateOperand));
  const u32 tileHi = in.at(kWordTileHi), turns = query_turns<C>(c);
  for (u32 tile = in.at(kWordTileLo); tile < tileHi; tile++) {
    place.set(tile);
    const PartChunks<C> chunks(c, place.split);
    bool awaited = false;
    for (u32 turn = 0; turn < turns && !producer.leaving; turn++) {
      if constexpr (PartChunks<C>::kPieces == 1) {
        produce_turn<C>(c, producer, place, chunks, awaited);
      } else {
        produce_turn_of_sides<C>(c, producer, place, chunks, awaited);
      }
    }
  }
}
