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

  MPK_DEVICE float scaled(u32 id) const { return divide_rn(load_f32(logits + id), temperature); }
  MPK_DEVICE u64 weight(u32 id) const {
    const float s = scaled(id);
    const u32 key = order_key(s);
    if (key < floorKey || (key == floorKey && id > tieId)) return 0;
    return exp_weight(add_rn(s, -maximum));
  }
};

struct WeightOf {
  Candidates race;
  MPK_DEVICE u64 operator()(u32 id) const { return race.weight(id); }
};
// 1 for each token whose key is at least `key` (or exactly, with `only`).
struct CountOf {
  Candidates race;
  u32 key;
  bool only;
  MPK_DEVICE u64 operator()(u32 id) const {
    const u32 mine = order_key(race.scaled(id));
    return only ? mine == key : mine >= key;
  }
};
// Weight of the tokens whose key is above `key`.
struct WeightAbove {
  Candidates race;
  u32 key;
  MPK_DEVICE u64 operator()(u32 id) const {
    return order_key(race.scaled(id)) > key ? race.weight(id) : 0;
  }
};

template <class F> MPK_DEVICE u64 sum_over(Context& c, const F& f) {
  u64 sum = 0;
  for (u32 id = c.thread; id < kVocab; id += kConsumerThreads) sum += f(id);
  return group_sum(c, sum);
}

// The lowest id for which the sum of f over all ids up to it exceeds `rest`.
template <class F> MPK_DEVICE u32 find_crossing(Context& c, const F& f, u64 rest) {
  u32 lo = 0, hi = kVocab;
  u64* slots = reinterpret_cast<u64*>(c.shared->reduce);
  while (lo + 1 < hi) {
    const u32 width = (hi - lo + kConsumerWarps - 1) / kConsumerWarps;
    const u32 from = lo + c.warp * width;
    u64 sum = 0;
    for (u32 id = from + c.lane; id < from + width && id < hi; id += 32) sum += f(id);
    for (int mask = 16; mask > 0; mask >>= 1) sum += shuffle_xor(sum, mask);
    if (c.lane == 0) slots[c.warp] = sum;
    consumer_barrier();
    u32 part = 0;
    while (part + 1 < kConsumerWarps && rest >= slots[part]) rest -= slots[part++];
    consumer_barrier();
    lo += part * width;
    hi = lo + width < hi ? lo + width : hi;
  }
  return lo;
}

// Raises the floor to the k-th largest scaled logit.
MPK_DEVICE void keep_top_k(Context& c, Candidates& race, u32 k) {
  if (k == 0 || k >= kVocab) return;
  u32 key = 0;
  for (u32 bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (sum_over(c, CountOf{race, key | bit, false}) >= k) key |= bit;
  }
  race.floorKey = key;
}

// Keeps the likeliest tokens with less than p of the weight before them.
MPK_DEVICE void keep_top_p(Context& c, Candidates& race, double p) {
  if (p >= 1.0) return;
  const double limit = p * static_cast<double>(sum_over(c, WeightOf{race}));
  // The largest key for which the weight above it still reaches the limit is out with all below.
  u32 out = 0;
  bool any = false;
  for (u32 bit = 0x80000000u; bit != 0; bit >>= 1) {
    const u64 above = sum_over(c, WeightAbove{race, out | bit});
    if (above > 0 && static_cast<double>(above) >= limit) {
      out |= bit;
      any = true;
    }
  }
  const u64 aboveZero = sum_over(c, WeightAbove{race, 0});
  if (!any && !(aboveZero > 0 && static_cast<double>(aboveZero) >= limit)) return;
  // The next key that occurs is the last to stay, perhaps not with all its ids.
  u32 next = 0xffffffffu;
  for (u32 id = c.thread; id < kVocab; id += kConsumerThreads) {
    const u32 key = order_key(race.scaled(id));
    if (key > out && key < next && race.weight(id) > 0) next = key;
  }
  for (int mask = 16; mask > 0; mask >>= 1) {
    const u32 other = shuffle_xor(next, mask);
    next = other < next ? other : next;
  }
  if (c.lane == 0) c.shared->reduce[c.warp] = bits_to_f32(next);
  consumer_barrier();
  for (u32 w = 0; w < kConsumerWarps; w++) {
    const u32 other = f32_to_bits(c.shared->reduce[w]);
    next = other < next ? other : next;
  }
  consumer_barrier();
  u64 before = sum_over(c, WeightAbove{race, next});
  const u64 ties = sum_over(c, CountOf{race, next, true});
  const u64 tied = sum_over(c, WeightAbove{race, next - 1}) - before;
  const u64 each = tied / ties;
  u64 stay = 1;  // how many of the tied do; the likeliest token always does
  if (before > 0 || ties > 1) {
    for (stay = 0; stay < ties; stay++) {
      const u64 ahead = before + stay * each;
      if (ahead > 0 && static_cast<double>(ahead) >= limit) break;
    }
  }
  race.floorKey = next;
  race.tieId = find_crossing(c, CountOf{race, next, true}, stay - 1);
}

// First two words of Philox4x32-10 (Salmon et al. 2011) at counter (position, 0, 0, 0).
MPK_DEVICE u64 philox(u32 position, u64 seed) {
  u32 c0 = position, c1 = 0, c2 = 0, c3 = 0;
  u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
#pragma unroll
  for (u32 round = 0; round < 10; round++) {
    const u32 high0 = multiply_high(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
    const u32 high1 = multiply_high(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return static_cast<u64>(c0) << 32 | c1;
}

// All consumer threads; `best` is the greedy choice. Out of line and by value: greedy decoding does
// not pay for its registers.
MPK_NOINLINE u32 choose_sampled(Context c, const float* logits, u32 best) {
  const Params& p = *c.params;
  if (best >= kVocab) return best;
  Candidates race = {logits, p.temperature, 0.0f, 0, 0xffffffffu};
  // One thread's reading for all: after an abort others may still write the logits, and threads that
  // disagreed here would wait at different barriers.
  if (c.thread == 0) c.shared->scale[0] = race.scaled(best);
  consumer_barrier();
  race.maximum = c.shared->scale[0];
  if (!(m_abs(race.maximum) <= 3.4028234663852886e38f)) return best;
  keep_top_k(c, race, p.topK);
  keep_top_p(c, race, p.topP);
  const u64 total = sum_over(c, WeightOf{race});
  const u64 random = philox(c.position + c.tokens - 1, p.seed);
  return find_crossing(c, WeightOf{race}, multiply_high(random, total));
}
