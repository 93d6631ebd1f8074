// Temperature, top-k and top-p over all logits, pass by pass: any number of tokens may stay.

struct WeightOf {
  Candidates race;
  MPK_DEVICE u64 operator()(u32 id) const { return race.weight(id); }
};
// 1 for each token whose key is exactly `key`.
struct CountOf {
  Candidates race;
  u32 key;
  MPK_DEVICE u64 operator()(u32 id) const { return order_key(race.scaled(id)) == key; }
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

// The lowest id for which the sum of f over all ids up to it exceeds `rest`, which is told the whole sum.
template <class F, class R> MPK_DEVICE u32 find_crossing(Context& c, const F& f, const R& restOf) {
  u32 lo = 0, hi = kVocab;
  u64 rest = 0;
  u64* slots = reinterpret_cast<u64*>(c.shared->reduce);
  while (lo + 1 < hi) {
    const u32 width = (hi - lo + kConsumerWarps - 1) / kConsumerWarps;
    const u32 from = lo + c.warp * width;
    u64 sum = 0;
#pragma unroll 8
    for (u32 id = from + c.lane; id < from + width && id < hi; id += 32) sum += f(id);
    for (int mask = 16; mask > 0; mask >>= 1) sum += shuffle_xor(sum, mask);
    if (c.lane == 0) slots[c.warp] = sum;
    consumer_barrier();
    if (lo == 0 && hi == kVocab) {
      u64 total = 0;
      for (u32 w = 0; w < kConsumerWarps; w++) total += slots[w];
      rest = restOf(total);
    }
    u32 part = 0;
    while (part + 1 < kConsumerWarps && rest >= slots[part]) rest -= slots[part++];
    consumer_barrier();
    lo += part * width;
    hi = lo + width < hi ? lo + width : hi;
  }
  return lo;
}

// Of all tokens with keys from `key` + d 2^shift on, d from 1 to kDigits: the sum of their weights, or their
// number.
constexpr u32 kDigitBits = kFewRegisters ? 2 : 4, kDigits = (1u << kDigitBits) - 1;
struct DigitSums {
  u64 from[kDigits];

  MPK_DEVICE void take(const Candidates& race, u32 id, bool weights, u32 key, u32 shift) {
    const u32 mine = order_key(race.scaled(id));
    if (mine < key + (1u << shift)) return;
    const u64 value = weights ? race.weight(id) : 1;
#pragma unroll
    for (u32 d = 0; d < kDigits; d++) from[d] += mine - key >= (d + 1) << shift ? value : 0;
  }
};
// The largest key, found a digit at a time, for which `enough` holds of what it and those above it sum to
// (`above` 0), or those above it alone (`above` 1); 0 where there is none.
template <class P>
MPK_DEVICE u32 largest_key(Context& c, const Candidates& race, bool weights, u32 above,
                           const P& enough) {
  u32 key = 0;
#pragma unroll 1
  for (u32 shift = 32; shift > 0;) {
    shift -= kDigitBits;
    DigitSums sums = {};
#pragma unroll 4
    for (u32 id = c.thread; id < kVocab; id += kConsumerThreads) {
      sums.take(race, id, weights, key + above, shift);
    }
    u32 digit = 0;
#pragma unroll
    for (u32 d = 0; d < kDigits; d++) {
      if (enough(group_sum(c, sums.from[d]))) digit = d + 1;
    }
    key += digit << shift;
  }
  return key;
}

struct AtLeast {
  u64 least;
  MPK_DEVICE bool operator()(u64 count) const { return count >= least; }
};
struct Reaches {
  double limit;
  MPK_DEVICE bool operator()(u64 weight) const {
    return weight > 0 && static_cast<double>(weight) >= limit;
  }
};

// Raises the floor to the k-th largest scaled logit.
MPK_DEVICE void keep_top_k(Context& c, Candidates& race, u32 k) {
  if (k == 0 || k >= kVocab) return;
  race.floorKey = largest_key(c, race, false, 0, AtLeast{k});
}

// Keeps the likeliest tokens with less than p of the weight before them.
MPK_DEVICE void keep_top_p(Context& c, Candidates& race, double p) {
  if (p >= 1.0) return;
  const double limit = p * static_cast<double>(sum_over(c, WeightOf{race}));
  const Reaches reaches = {limit};
  // The largest key for which the weight above it still reaches the limit is out with all below.
  const u32 out = largest_key(c, race, true, 1, reaches);
  if (out == 0 && !reaches(sum_over(c, WeightAbove{race, 0}))) return;
  // The next key that occurs is the last to stay, perhaps not with all its ids.
  u32 next = 0xffffffffu;
#pragma unroll kFewRegisters ? 1 : 4
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
  const u64 ties = sum_over(c, CountOf{race, next});
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
  race.tieId = find_crossing(c, CountOf{race, next}, [&](u64) { return stay - 1; });
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
  const u64 random = philox(c.position + c.tokens - 1, p.seed);
  if constexpr (Shortlist::kFits) {
    const u32 token = choose_listed(c, race, p.topK, p.topP, random);
    if (token != kVocab) return token;
  }
  keep_top_k(c, race, p.topK);
  keep_top_p(c, race, p.topP);
  return find_crossing(c, WeightOf{race},
                       [&](u64 total) { return multiply_high(random, total); });
}
