// Temperature, top-k and top-p, as @mpk/ops' `chooseToken` defines them: integer weights, so that
// every sum is exact in any order and every device chooses the same token.

// floor(2^32 * exp(x)) for x <= 0; 0 for NaN and x <= -23. Rounded step by step, nothing fused.
MPK_DEVICE u64 exp_weight(float x) {
  if (!(x > -23.0f)) return 0;
  const float n = m_floor(add_rn(multiply_rn(x, 1.4426950408889634f), 0.5f));
  const float r = add_rn(add_rn(x, -multiply_rn(n, 0.693359375f)),
                         -multiply_rn(n, -2.12194440054e-4f));
  float y = 0.0f;
  const float series[8] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                           1.0f / 6,    1.0f / 2,   1.0f,       1.0f};
#pragma unroll
  for (u32 i = 0; i < 8; i++) y = add_rn(multiply_rn(y, r), series[i]);
  const i32 shift = 32 + static_cast<i32>(n);
  // y is in (0.7, 1.5): its 24 bits moved to where 2^shift puts them.
  const u64 mantissa = static_cast<u64>(y * 16777216.0f);
  return shift >= 24 ? mantissa << (shift - 24) : mantissa >> (24 - shift);
}

// Order of floats as order of unsigned words; NaN counts as -infinity.
MPK_DEVICE u32 order_key(float v) {
  u32 bits = f32_to_bits(v == v ? v : bits_to_f32(0xff800000u));
  if (bits == 0x80000000u) bits = 0;  // -0 equals 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

MPK_DEVICE float value_of_key(u32 key) {
  return bits_to_f32(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

MPK_DEVICE u64 group_sum(Context& c, u64 v) {
  for (int mask = 16; mask > 0; mask >>= 1) v += shuffle_xor(v, mask);
  u64* slots = reinterpret_cast<u64*>(c.shared->reduce);
  if (c.lane == 0) slots[c.warp] = v;
  consumer_barrier();
  u64 sum = 0;
  for (u32 w = 0; w < kConsumerWarps; w++) sum += slots[w];
  consumer_barrier();
  return sum;
}

// The tokens still in the race, and what each weighs.
struct Candidates {
  const float* logits;
  float temperature;
  float maximum;  // scaled
  u32 floorKey;   // lower keys are out
  u32 tieId;      // of those at floorKey, ids above this are out

  MPK_DEVICE float divided(float logit) const { return divide_rn(logit, temperature); }
  MPK_DEVICE float scaled(u32 id) const { return divided(load_f32(logits + id)); }
  MPK_DEVICE u64 weight(u32 id) const {
    const float s = scaled(id);
    const u32 key = order_key(s);
    if (key < floorKey || (key == floorKey && id > tieId)) return 0;
    return exp_weight(add_rn(s, -maximum));
  }
};
