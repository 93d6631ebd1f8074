// Sampling among few: where top-k and top-p leave no more tokens than there are consumer threads, these
// tokens are listed in shared memory, one a thread, and the choice is made among them: two passes over the
// logits instead of eight and more.

// Logits a thread has on their way at once.
constexpr u32 kLogitsAhead = 16;

// Calls f(id, logit) for each of a thread's logits.
template <class F> MPK_DEVICE void each_logit(const Context& c, const float* logits, const F& f) {
#pragma unroll 1
  for (u32 from = c.thread; from < kVocab; from += kLogitsAhead * kConsumerThreads) {
    float v[kLogitsAhead];
#pragma unroll
    for (u32 i = 0; i < kLogitsAhead; i++) {
      const u32 id = from + i * kConsumerThreads;
      v[i] = id < kVocab ? load_f32(logits + id) : 0.0f;
    }
#pragma unroll
    for (u32 i = 0; i < kLogitsAhead; i++) {
      if (from + i * kConsumerThreads < kVocab) f(from + i * kConsumerThreads, v[i]);
    }
  }
}

// The likeliest tokens in any order, one for each thread that has one.
struct Shortlist {
  static constexpr u32 kMost = kConsumerThreads;
  static constexpr bool kFits = kWorkBytes >= kMost * 16;
  u64* weights;
  u32* keys;
  u32* ids;
  u32* count;  // of tokens that should be in it
  u32* least;  // whose keys are at least this

  MPK_DEVICE explicit Shortlist(const Context& c)
      : weights(reinterpret_cast<u64*>(c.work)), keys(reinterpret_cast<u32*>(c.work + kMost * 8)),
        ids(keys + kMost), count(reinterpret_cast<u32*>(c.shared->scale) + 1), least(count + 1) {}

  // Lists all tokens whose keys are at least the n-th largest of the threads' largest ones: n or more.
  // True if they fit; `total` is then what all tokens weigh.
  MPK_DEVICE bool fill(Context& c, const Candidates& race, u32 n, bool weigh, u64* total) {
    u32 most = 0;
    each_logit(c, race.logits, [&](u32, float logit) {
      const u32 key = order_key(race.divided(logit));
      most = key > most ? key : most;
    });
    u32* largest = reinterpret_cast<u32*>(weights);
    largest[c.thread] = most;
    if (c.thread == 0) *count = 0;
    consumer_barrier();
    u32 before = 0;
    for (u32 i = 0; i < kMost; i++) {
      const u32 other = largest[i];
      before += other > most || (other == most && i < c.thread);
    }
    if (before == n - 1) *least = most;
    consumer_barrier();
    u64 sum = 0;
    const u32 from = *least;
    each_logit(c, race.logits, [&](u32 id, float logit) {
      const float s = race.divided(logit);
      const u32 key = order_key(s);
      if (weigh) sum += exp_weight(add_rn(s, -race.maximum));
      if (key >= from) append(key, id);
    });
    *total = weigh ? group_sum(c, sum) : 0;
    consumer_barrier();
    return *count <= kMost;
  }
  MPK_DEVICE void append(u32 key, u32 id) const {
    u32 at = 0;
    for (;;) {
      const u32 seen = compare_swap_shared(count, at, at + 1);
      if (seen == at) break;
      at = seen;
    }
    if (at >= kMost) return;
    keys[at] = key;
    ids[at] = id;
  }
};

// The token of `race` with top-k and top-p, or kVocab where these may leave too many for a list.
MPK_DEVICE u32 choose_listed(Context& c, const Candidates& race, u32 topK, double topP, u64 random) {
  constexpr u32 kMost = Shortlist::kMost;
  const bool all = topK == 0 || topK >= kVocab;
  if (all ? topP >= 1.0 : topK > kMost) return kVocab;
  Shortlist list(c);
  u64 total = 0;
  if (!list.fill(c, race, all ? kMost / 2 : topK, all, &total)) return kVocab;
  const u32 count = *list.count;
  const bool mine = c.thread < count;
  const u32 key = mine ? list.keys[c.thread] : 0, id = mine ? list.ids[c.thread] : 0xffffffffu;
  u64 weight = mine ? exp_weight(add_rn(value_of_key(key), -race.maximum)) : 0;
  if (!all) {
    u32 larger = 0;
    for (u32 i = 0; i < count; i++) larger += list.keys[i] > key;
    if (larger >= topK) weight = 0;
  }
  list.weights[c.thread] = weight;
  u64 sum = group_sum(c, weight);  // its barriers are those of the list's weights too
  if (topP < 1.0) {
    const double limit = topP * static_cast<double>(all ? total : sum);
    // Else tokens that are not listed may stay as well.
    if (all && static_cast<double>(sum) < limit) return kVocab;
    u64 before = 0;
    for (u32 i = 0; i < count; i++) {
      const u32 other = list.keys[i];
      if (other > key || (other == key && list.ids[i] < id)) before += list.weights[i];
    }
    consumer_barrier();
    if (before > 0 && static_cast<double>(before) >= limit) list.weights[c.thread] = weight = 0;
    sum = group_sum(c, weight);
  }
  const u64 rest = multiply_high(random, sum);
  u64 upTo = 0;
  for (u32 i = 0; i < count; i++) upTo += list.ids[i] < id ? list.weights[i] : 0;
  if (upTo <= rest && rest < upTo + weight) *list.least = id;
  consumer_barrier();
  const u32 token = *list.least;
  consumer_barrier();
  return token;
}
