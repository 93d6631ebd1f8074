// The end of a tile group in linears of many tokens: outputs are finished where mma has left their sums,
// an octet of a tile's tokens at a time, without a search for what is whose.

// Octets of a tile's tokens that one of two warps or more finishes.
constexpr u32 kSharedOctets = kTokenRows / 16;

// What one lane finishes of a tile and eight tokens: the outputs whose sums it holds (number i of mma is of
// row lane / 4, or 8 more, and token 2 (lane mod 4), or 1 more). With more than two groups an output's
// sums are several lanes': any output then.
template <class C> struct Octet {
  static constexpr bool kOwn = C::kGroups <= 2;
  static constexpr u32 kCount = kOwn ? 4 / C::kGroups : 1;
  typename C::Extras extras[kCount];

  MPK_DEVICE static u32 token(u32 i, u32 lane) {
    return kOwn ? (lane & 3u) * 2 + i % 2 : lane / C::kWidth;
  }
  MPK_DEVICE static u32 row(u32 i, u32 lane) {
    return kOwn ? (lane >> 2) + i / 2 * 8 : lane % C::kWidth;
  }
  // Column of output i, kN if there is none.
  MPK_DEVICE static u32 column(u32 i, u32 lane, u32 tile, u32 octet, u32 rows) {
    const u32 own = token(i, lane), at = tile * C::kWidth + row(i, lane);
    return own < 8 && octet * 8 + own < rows && at < C::kN ? at : C::kN;
  }

  MPK_DEVICE void load(const Context& c, const u32* ops, u32 tile, u32 octet, u32 rows) {
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      const u32 at = column(i, c.lane, tile, octet, rows);
      if (at < C::kN) extras[i].load(c, ops, octet * 8 + token(i, c.lane), at);
    }
  }

  MPK_DEVICE void store(const Context& c, const u32* ops, u32 tile, u32 octet, u32 rows,
                        float (&acc)[kCount][C::kGroups]) const {
    typename C::Out* out = in_scratch<typename C::Out>(c, ops[C::kOutOperand]);
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      const u32 at = column(i, c.lane, tile, octet, rows), token = octet * 8 + Octet::token(i, c.lane);
      if (at >= C::kN) continue;
      if constexpr (C::kScales) {
        for (u32 g = 0; g < C::kGroups; g++) acc[i][g] *= row_scales(c)[token * 2];
      }
      store_one(out + static_cast<u64>(token) * C::kOutStride + at, extras[i].epilogue(acc[i]));
    }
  }
};

// A warp's sums of an octet in shared memory, [number][lane]: no bank is met twice.
constexpr u32 kOctetSums = 128;

MPK_DEVICE void put_octet(float* to, u32 lane, const float (&acc)[4]) {
#pragma unroll
  for (u32 i = 0; i < 4; i++) to[i * 32 + lane] = acc[i];
}

// Adds to the outputs' sums what kWarps warps put `stride` floats behind each other, in order.
template <class C, u32 kWarps>
MPK_DEVICE void add_warps(const float* from, u32 stride, u32 lane,
                          float (&acc)[Octet<C>::kCount][C::kGroups]) {
#pragma unroll
  for (u32 i = 0; i < Octet<C>::kCount; i++) {
#pragma unroll
    for (u32 g = 0; g < C::kGroups; g++) {
      const u32 token = Octet<C>::token(i, lane) & 7u;
      const u32 row = Octet<C>::row(i, lane) + g * C::kWidth;
      const float* p = from + (row / 8 * 2 + token % 2) * 32 + row % 8 * 4 + token / 2;
#pragma unroll
      for (u32 w = 0; w < kWarps; w++) acc[i][g] += p[w * stride];
    }
  }
}
// The same for `count` warps, the usual numbers of them without a loop.
template <class C>
MPK_DEVICE void add_octets(const float* from, u32 stride, u32 count, u32 lane,
                           float (&acc)[Octet<C>::kCount][C::kGroups]) {
  if (count == 2) return add_warps<C, 2>(from, stride, lane, acc);
  if (count == 4) return add_warps<C, 4>(from, stride, lane, acc);
#pragma unroll 1
  for (u32 w = 0; w < count; w++) add_warps<C, 1>(from + w * stride, stride, lane, acc);
}
