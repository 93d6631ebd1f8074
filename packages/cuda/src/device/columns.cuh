// Softmax in one warp's registers where eight queries are the columns of mma's products: lane 4 g + q
// holds columns 2 q and 2 q + 1 of every sum, so that a query's maximum and sum stay in its lanes.

// Probabilities of keys, 16 a tile, as the second operand of V^T P^T: [tile][half of it]. Two bf16 terms
// each, the second what the first leaves: only cached keys and values are rounded.
template <u32 kTiles> struct UnitWeights {
  u32 high[kTiles][2];
  u32 low[kTiles][2];

  MPK_DEVICE void pack(const float (&p)[kTiles][4]) {
#pragma unroll
    for (u32 tile = 0; tile < kTiles; tile++) {
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

// Running softmax (base 2) of eight queries over the keys that a warp has seen, kKeys tiles of 16 at a
// time, with kTiles tiles of 16 dims of their weighted values; `sum` is this lane's share.
template <u32 kTiles, u32 kKeys> struct ColumnSums {
  float maximum[2];
  float sum[2];
  float value[kTiles][4];

  MPK_DEVICE void clear() {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      maximum[e] = kMinusInfinity;
      sum[e] = 0.0f;
    }
#pragma unroll
    for (u32 i = 0; i < kTiles; i++) {
      value[i][0] = value[i][1] = value[i][2] = value[i][3] = 0.0f;
    }
  }

  // Scores become probabilities. What came before is scaled to the new maximum: all of it vanishes
  // where a query had seen only keys out of its sight.
  MPK_DEVICE void take(float (&score)[kKeys][4]) {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float most = m_max(score[0][e], score[0][e + 2]);
      if (kKeys == 2) most = m_max(most, m_max(score[kKeys - 1][e], score[kKeys - 1][e + 2]));
      most = m_max(most, shuffle_xor(most, 4));
      most = m_max(most, shuffle_xor(most, 8));
      most = m_max(most, shuffle_xor(most, 16));
      most = m_max(most, maximum[e]);
      const float keep = exp2_fast(maximum[e] - most);
      maximum[e] = most;
      sum[e] *= keep;
#pragma unroll
      for (u32 i = 0; i < 2 * kKeys; i++) {
        float& p = score[i >> 1][(i & 1u) * 2 + e];
        p = exp2_fast(p - most);
        sum[e] += p;
      }
#pragma unroll
      for (u32 i = 0; i < kTiles; i++) {
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
