// One warp's attention of up to eight queries to chunks of keys on tensor cores: scores K Q^T, then
// results V^T P^T. Queries are the columns of both products, in two bf16 terms; see columns.cuh.

// Keys that go to a split together.
constexpr u32 kUnitKeys = 32;

// Where things lie, in 16-bit words. A chunk's keys, and its values, are fragments of mma's A operand,
// 512 bytes each, so that 16 bytes of a lane are what one product wants of it.
template <class C> struct UnitMap {
  static constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  static constexpr u32 kSteps = C::kD / 16;  // of 16 dims
  // A chunk is what a warp takes in at once: a unit or half of one, as a stage of the ring holds it,
  // keys before values. Of wide heads, keys and values are chunks of their own.
  static constexpr u32 kKeys = kUnitKeys * C::kD * 4 <= kStageBytes ? 32 : 16;
  static constexpr u32 kTiles = kKeys / 16;
  static constexpr u32 kSideBytes = kKeys * C::kD * 2;  // of its keys, or its values
  static constexpr u32 kPieces = 2 * kSideBytes <= kStageBytes ? 1 : 2;
  static_assert(kSideBytes <= kStageBytes, "a stage holds the keys of a chunk");
  // Fragments in registers at once, beside the sums, of each tile of keys.
  static constexpr u32 kAtOnce = kSteps <= 4 ? kSteps : 4 / kTiles;

  // In a fragment: row 0 .. 15, column 0 .. 15.
  MPK_DEVICE static u32 in_fragment(u32 row, u32 column) {
    return ((row & 7u) * 4 + (column & 7u) / 2) * 8 + (column >> 3) * 4 + (row >> 3) * 2 +
           (column & 1u);
  }
  // In keys, tiles of 16 keys: [tile][step], keys are rows.
  MPK_DEVICE static u32 of_key(u32 key, u32 d) {
    return ((key >> 4) * kSteps + (d >> 4)) * 256 + in_fragment(key & 15u, d & 15u);
  }
  // In values, tiles of 16 keys: [tile][16 dims], dims are rows.
  MPK_DEVICE static u32 of_value(u32 key, u32 d) {
    return ((key >> 4) * kSteps + (d >> 4)) * 256 + in_fragment(d & 15u, key & 15u);
  }
  // In shared memory, the first term of a query; the second is four words on: [step][lane].
  MPK_DEVICE static u32 of_query(u32 column, u32 d) {
    return ((d >> 4) * 32 + column * 4 + (d & 7u) / 2) * 8 + ((d >> 3) & 1u) * 2 + (d & 1u);
  }
  static constexpr u32 kQueryBytes = kSteps * 512;
};

// A lane's fragments of steps [first, first + kAtOnce) of a chunk's keys, or of its values.
template <class C> struct UnitSide {
  typedef UnitMap<C> Map;
  Vec4 at[Map::kTiles][Map::kAtOnce];

  // From a stage of the ring.
  MPK_DEVICE void load(const u16* side, u32 first, u32 lane) {
    forget(lane);  // no earlier than here: before, other fragments have the registers
#pragma unroll
    for (u32 tile = 0; tile < Map::kTiles; tile++) {
#pragma unroll
      for (u32 i = 0; i < Map::kAtOnce; i++) {
        if (first + i >= Map::kSteps) break;
        const u16* from = side + (tile * Map::kSteps + first + i) * 256 + lane * 8;
        at[tile][i] = load_staged(from);
      }
    }
  }

  // Keys: sums += k * query for these steps, the queries' second terms apart: two chains of products.
  MPK_DEVICE void score(const u8* query, u32 first, u32 lane,
                        float (&sum)[2][Map::kTiles][4]) const {
#pragma unroll
    for (u32 i = 0; i < Map::kAtOnce; i++) {
      if (first + i >= Map::kSteps) break;
      const Vec4 b = *reinterpret_cast<const Vec4*>(query + (first + i) * 512 + lane * 16);
#pragma unroll
      for (u32 tile = 0; tile < Map::kTiles; tile++) {
        mma_16x8x16(sum[0][tile], at[tile][i], b.x, b.y);
        mma_16x8x16(sum[1][tile], at[tile][i], b.z, b.w);
      }
    }
  }

  // Values, of which only the first `count` keys were ever written: not even times 0 may the others
  // count.
  MPK_DEVICE void clip(u32 count, u32 lane) {
#pragma unroll
    for (u32 half = 0; half < 2 * Map::kTiles; half++) {
      const u32 key = half * 8 + (lane & 3u) * 2;
      const u32 mask = key + 2 <= count ? 0xffffffffu : key + 1 <= count ? 0xffffu : 0u;
#pragma unroll
      for (u32 i = 0; i < Map::kAtOnce; i++) {
        Vec4& own = at[half >> 1][i];
        ((half & 1u) ? own.z : own.x) &= mask;
        ((half & 1u) ? own.w : own.y) &= mask;
      }
    }
  }
};

// Running softmax (base 2) of eight queries over the chunks that a warp has seen.
template <class C> struct UnitSums : ColumnSums<UnitMap<C>::kSteps, UnitMap<C>::kTiles> {
  // result += v * p for steps [first, first + kAtOnce) of the values.
  MPK_DEVICE void add(const UnitSide<C>& v, const UnitWeights<UnitMap<C>::kTiles>& p, u32 first) {
#pragma unroll
    for (u32 i = 0; i < UnitMap<C>::kAtOnce; i++) {
      if (first + i >= UnitMap<C>::kSteps) break;
#pragma unroll
      for (u32 tile = 0; tile < UnitMap<C>::kTiles; tile++) {
        mma_16x8x16(this->value[first + i], v.at[tile][i], p.high[tile][0], p.high[tile][1]);
        mma_16x8x16(this->value[first + i], v.at[tile][i], p.low[tile][0], p.low[tile][1]);
      }
    }
  }
};
