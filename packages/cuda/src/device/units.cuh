// One warp's attention of up to eight queries to units of 32 keys on tensor cores: scores K Q^T, then
// results V^T P^T. Queries are the columns of both products, so that sums stay in their lanes.

// Lane 4 g + q of a warp holds columns 2 q and 2 q + 1 of every sum. Queries and probabilities are two
// bf16 terms each, the second what the first leaves: only cached keys and values are rounded.

constexpr u32 kUnitKeys = 32;

// Where things lie, in 16-bit words. A unit of keys and a unit of values are fragments of mma's A
// operand, 512 bytes each, so that 16 bytes of a lane are what one product wants of it.
template <class C> struct UnitMap {
  static constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  static constexpr u32 kSteps = C::kD / 16;  // of 16 dims
  // Fragments in registers at once, beside the sums: of each of two key tiles, and value tiles, two
  // for each.
  static constexpr u32 kKeySteps = kSteps <= 4 ? kSteps : MPK_FEW_KEYS ? 2 : 4;
  static constexpr u32 kValueTiles = kSteps <= 4 ? kSteps : 2;

  // In a fragment: row 0 .. 15, column 0 .. 15.
  MPK_DEVICE static u32 in_fragment(u32 row, u32 column) {
    return ((row & 7u) * 4 + (column & 7u) / 2) * 8 + (column >> 3) * 4 + (row >> 3) * 2 +
           (column & 1u);
  }
  // In a unit of keys, tiles of 16 keys: [tile][step], keys are rows.
  MPK_DEVICE static u32 of_key(u32 key, u32 d) {
    return ((key >> 4) * kSteps + (d >> 4)) * 256 + in_fragment(key & 15u, d & 15u);
  }
  // In a unit of values, tiles of 16 dims: [tile][half of the keys], dims are rows.
  MPK_DEVICE static u32 of_value(u32 key, u32 d) {
    return ((d >> 4) * 2 + (key >> 4)) * 256 + in_fragment(d & 15u, key & 15u);
  }
  // In shared memory, the first term of a query; the second is four words on: [step][lane].
  MPK_DEVICE static u32 of_query(u32 column, u32 d) {
    return ((d >> 4) * 32 + column * 4 + (d & 7u) / 2) * 8 + ((d >> 3) & 1u) * 2 + (d & 1u);
  }
  static constexpr u32 kQueryBytes = kSteps * 512;
};

// Steps [first, first + kKeySteps) of the keys of a unit.
template <class C> struct UnitKeys {
  typedef UnitMap<C> Map;
  Vec4 k[2][Map::kKeySteps];

  MPK_DEVICE void load(const u16* unit, u32 first, u32 lane) {
    forget(lane);  // no earlier than here: before, other fragments have the registers
#pragma unroll
    for (u32 tile = 0; tile < 2; tile++) {
#pragma unroll
      for (u32 i = 0; i < Map::kKeySteps; i++) {
        if (first + i >= Map::kSteps) break;
        k[tile][i] = load_vec4(unit + (tile * Map::kSteps + first + i) * 256 + lane * 8);
      }
    }
  }

  // score += k * query for these steps.
  MPK_DEVICE void multiply(const u8* query, u32 first, u32 lane, float (&score)[2][4]) const {
#pragma unroll
    for (u32 i = 0; i < Map::kKeySteps; i++) {
      if (first + i >= Map::kSteps) break;
      const Vec4 b = *reinterpret_cast<const Vec4*>(query + (first + i) * 512 + lane * 16);
#pragma unroll
      for (u32 tile = 0; tile < 2; tile++) {
        mma_16x8x16(score[tile], k[tile][i], b.x, b.y);
        mma_16x8x16(score[tile], k[tile][i], b.z, b.w);
      }
    }
  }
};

// Probabilities of a unit as the second operand of V^T P^T: [tile of keys][half of it].
struct UnitWeights {
  u32 high[2][2];
  u32 low[2][2];

  MPK_DEVICE void pack(const float (&p)[2][4]) {
#pragma unroll
    for (u32 tile = 0; tile < 2; tile++) {
#pragma unroll
      for (u32 half = 0; half < 2; half++) {
        const float a = p[tile][2 * half], b = p[tile][2 * half + 1];
        const u32 h = pack_bf16(a, b);
        high[tile][half] = transpose_8x8(h);
        low[tile][half] = transpose_8x8(pack_bf16(a - bf16_low(h), b - bf16_high(h)));
      }
    }
  }
};

// Tiles [first, first + kValueTiles) of the values of a unit.
template <class C> struct UnitValues {
  typedef UnitMap<C> Map;
  Vec4 v[Map::kValueTiles][2];

  MPK_DEVICE void load(const u16* unit, u32 first, u32 lane) {
    forget(lane);
#pragma unroll
    for (u32 i = 0; i < Map::kValueTiles; i++) {
      if (first + i >= Map::kSteps) break;
      v[i][0] = load_vec4(unit + (first + i) * 512 + lane * 8);
      v[i][1] = load_vec4(unit + (first + i) * 512 + 256 + lane * 8);
    }
  }

  // Only the first `count` keys were ever written: not even times 0 may the others count.
  MPK_DEVICE void clip(u32 count, u32 lane) {
#pragma unroll
    for (u32 half = 0; half < 4; half++) {
      const u32 key = half * 8 + (lane & 3u) * 2;
      const u32 mask = key + 2 <= count ? 0xffffffffu : key + 1 <= count ? 0xffffu : 0u;
#pragma unroll
      for (u32 i = 0; i < Map::kValueTiles; i++) {
        Vec4& own = v[i][half >> 1];
        ((half & 1u) ? own.z : own.x) &= mask;
        ((half & 1u) ? own.w : own.y) &= mask;
      }
    }
  }

  MPK_DEVICE void multiply(const UnitWeights& p, u32 first, float (&sum)[Map::kSteps][4]) const {
#pragma unroll
    for (u32 i = 0; i < Map::kValueTiles; i++) {
      if (first + i >= Map::kSteps) break;
#pragma unroll
      for (u32 tile = 0; tile < 2; tile++) {
        mma_16x8x16(sum[first + i], v[i][tile], p.high[tile][0], p.high[tile][1]);
        mma_16x8x16(sum[first + i], v[i][tile], p.low[tile][0], p.low[tile][1]);
      }
    }
  }
};

// Running softmax (base 2) of eight queries over the units that a warp has seen; `sum` is this lane's
// share.
template <class C> struct UnitSums {
  float maximum[2];
  float sum[2];
  float value[UnitMap<C>::kSteps][4];

  MPK_DEVICE void clear() {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      maximum[e] = kMinusInfinity;
      sum[e] = 0.0f;
    }
#pragma unroll
    for (u32 i = 0; i < UnitMap<C>::kSteps; i++) {
      value[i][0] = value[i][1] = value[i][2] = value[i][3] = 0.0f;
    }
  }

  // Scores become probabilities. What came before is scaled to the new maximum: all of it vanishes
  // where a query had seen only keys out of its sight.
  MPK_DEVICE void take(float (&score)[2][4]) {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float most = m_max(m_max(score[0][e], score[0][e + 2]), m_max(score[1][e], score[1][e + 2]));
      most = m_max(most, shuffle_xor(most, 4));
      most = m_max(most, shuffle_xor(most, 8));
      most = m_max(most, shuffle_xor(most, 16));
      most = m_max(most, maximum[e]);
      const float keep = exp2_fast(maximum[e] - most);
      maximum[e] = most;
      sum[e] *= keep;
#pragma unroll
      for (u32 i = 0; i < 4; i++) {
        float& p = score[i >> 1][(i & 1u) * 2 + e];
        p = exp2_fast(p - most);
        sum[e] += p;
      }
#pragma unroll
      for (u32 i = 0; i < UnitMap<C>::kSteps; i++) {
        value[i][e] *= keep;
        value[i][e + 2] *= keep;
      }
    }
  }

  // The whole warp's sums in every lane.
  MPK_DEVICE void close() {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      sum[e] += shuffle_xor(sum[e], 4);
      sum[e] += shuffle_xor(sum[e], 8);
      sum[e] += shuffle_xor(sum[e], 16);
    }
  }
};
