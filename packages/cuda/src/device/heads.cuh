// One row of a query, key or value head in a warp's registers: norm and RoPE. What does not depend
// on the row (rotations, gains) is apart, so that a task can have it before its operands are there.

// Constants: kD, kQkNorm, kEps, kRope, typename Gain, static float frequency(u32 i).

// Lane l holds dims l + 32 i of the lower half of a head, and those of the upper half beside them.
template <class C> struct HeadPairs {
  static constexpr u32 kHalf = C::kD / 2;
  static constexpr u32 kCount = (kHalf + 31) / 32;
  MPK_DEVICE static u32 dim(u32 lane, u32 i) { return lane + 32 * i; }
  // Whether every lane has its i-th pair.
  MPK_DEVICE static bool has(u32 lane, u32 i) { return kHalf % 32 == 0 || dim(lane, i) < kHalf; }
};

// The rotation of a position.
template <class C> struct HeadTurn {
  typedef HeadPairs<C> Pairs;
  float cosine[Pairs::kCount];
  float sine[Pairs::kCount];

  MPK_DEVICE void prepare(u32 lane, u32 position) {
    if constexpr (C::kRope) {
#pragma unroll
      for (u32 i = 0; i < Pairs::kCount; i++) {
        const u32 d = Pairs::has(lane, i) ? Pairs::dim(lane, i) : 0;
        const float angle = static_cast<float>(position) * C::frequency(d);
        m_sincos(angle, sine[i], cosine[i]);
      }
    }
  }
};

// The gains of a norm of heads.
template <class C> struct HeadGains {
  typedef HeadPairs<C> Pairs;
  float low[Pairs::kCount];
  float high[Pairs::kCount];

  MPK_DEVICE void load(const typename C::Gain* gain, u32 lane) {
    if constexpr (C::kQkNorm) {
#pragma unroll
      for (u32 i = 0; i < Pairs::kCount; i++) {
        const u32 d = Pairs::has(lane, i) ? Pairs::dim(lane, i) : 0;
        low[i] = load_resident(gain + d);
        high[i] = load_resident(gain + d + Pairs::kHalf);
      }
    }
  }
};

template <class C> struct HeadRow {
  typedef HeadPairs<C> Pairs;
  float low[Pairs::kCount];
  float high[Pairs::kCount];

  // All loads of the row, none of them depending on another.
  template <class X> MPK_DEVICE void load(const X* from, u32 lane) {
#pragma unroll
    for (u32 i = 0; i < Pairs::kCount; i++) {
      low[i] = high[i] = 0.0f;
      if (!Pairs::has(lane, i)) continue;
      low[i] = load_one(from + Pairs::dim(lane, i));
      high[i] = load_one(from + Pairs::dim(lane, i) + Pairs::kHalf);
    }
  }

  // This lane's share of the sum of squares.
  MPK_DEVICE float squares() const {
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < Pairs::kCount; i++) sum += low[i] * low[i] + high[i] * high[i];
    return sum;
  }
  MPK_DEVICE void multiply(const HeadGains<C>& gains, float scale) {
#pragma unroll
    for (u32 i = 0; i < Pairs::kCount; i++) {
      low[i] = low[i] * scale * gains.low[i];
      high[i] = high[i] * scale * gains.high[i];
    }
  }
  MPK_DEVICE void norm(const HeadGains<C>& gains) {
    if constexpr (C::kQkNorm) {
      const float mean = warp_sum(squares()) * (1.0f / static_cast<float>(C::kD));
      multiply(gains, m_rsqrt(mean + C::kEps));
    }
  }

  MPK_DEVICE void turn(const HeadTurn<C>& turn) {
    if constexpr (C::kRope) {
#pragma unroll
      for (u32 i = 0; i < Pairs::kCount; i++) {
        const float rotated = low[i] * turn.cosine[i] - high[i] * turn.sine[i];
        high[i] = high[i] * turn.cosine[i] + low[i] * turn.sine[i];
        low[i] = rotated;
      }
    }
  }

  MPK_DEVICE void store_f32(float* to, u32 lane, float scale) const {
#pragma unroll
    for (u32 i = 0; i < Pairs::kCount; i++) {
      if (!Pairs::has(lane, i)) continue;
      to[Pairs::dim(lane, i)] = low[i] * scale;
      to[Pairs::dim(lane, i) + Pairs::kHalf] = high[i] * scale;
    }
  }

  MPK_DEVICE void store_bf16(u16* to, u32 lane) const {
#pragma unroll
    for (u32 i = 0; i < Pairs::kCount; i++) {
      if (!Pairs::has(lane, i)) continue;
      to[Pairs::dim(lane, i)] = f32_to_bf16(low[i]);
      to[Pairs::dim(lane, i) + Pairs::kHalf] = f32_to_bf16(high[i]);
    }
  }
};
