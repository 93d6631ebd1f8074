// The merge of attention's parts: sums of the splits in their order, the same for every timing.

// Constants of the merge: kHeads, kKvHeads, kD, kSplits, kTile, kPartsStride, kOutStride, operands.

// Several parts of one element of the result, added up: values weighted by 2^(score - most).
struct Joined {
  float most, sum, value;

  MPK_DEVICE void clear() {
    most = kMinusInfinity;
    sum = value = 0.0f;
  }
  // All of them to one maximum. A split without keys has sum 0, and may have written no values.
  template <u32 kCount> MPK_DEVICE void add(const Joined (&parts)[kCount]) {
    float maximum = most;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) maximum = m_max(maximum, parts[i].most);
    const float keep = exp2_fast(most - maximum);
    most = maximum;
    sum *= keep;
    value *= keep;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      const float weight = exp2_fast(parts[i].most - maximum);
      sum += parts[i].sum * weight;
      value += parts[i].sum == 0.0f ? 0.0f : parts[i].value * weight;
    }
  }
};

// Where the parts of an element of the result are: values and (maximum, sum) of the first split.
template <class C> struct JoinedFrom {
  u32 values, stats;

  MPK_DEVICE explicit JoinedFrom(u32 column) {
    constexpr u32 kGroup = C::kHeads / C::kKvHeads;
    const u32 head = column / C::kD, own = head % kGroup;
    const u32 first = head / kGroup * (C::kSplits * kPartColumns<C>);
    values = first + own * C::kD + column % C::kD;
    stats = first + kGroup * C::kD + 2 * own;
  }
};

// Splits first, first + kStep, ... of one element, several loads in flight.
template <class C, u32 kStep, u32 kBatch>
MPK_DEVICE void join_splits(const float* parts, u32 column, u32 first, Joined& all) {
  const JoinedFrom<C> from(column);
#pragma unroll 1
  for (u32 split0 = first; split0 < C::kSplits; split0 += kBatch * kStep) {
    Joined batch[kBatch];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      batch[i].clear();
      if (split0 + i * kStep >= C::kSplits) continue;
      const u32 at = (split0 + i * kStep) * kPartColumns<C>;
      batch[i].most = load_f32(parts + from.stats + at);
      batch[i].sum = load_f32(parts + from.stats + at + 1);
      batch[i].value = load_f32(parts + from.values + at);
    }
    all.add(batch);
  }
}

//flags: // The same of flagged parts. All words that are missing are looked at at once.
//flags: template <class C, u32 kStep, u32 kBatch>
//flags: MPK_DEVICE void poll_splits(const Context& c, u32 operand, u32 column, u32 first, Joined& all) {
//flags:   const JoinedFrom<C> from(column);
//flags:   const u32* parts = in_copy<u32>(c, operand);
//flags: #pragma unroll 1
//flags:   for (u32 split0 = first; split0 < C::kSplits; split0 += kBatch * kStep) {
//flags:     u32 words[3 * kBatch];
//flags:     auto look = [&](u32 i) {
//flags:       const u32 split = split0 + i / 3 * kStep, at = split < C::kSplits ? split : first;
//flags:       const u32 word = i % 3 < 2 ? from.stats + i % 3 : from.values;
//flags:       words[i] = load_relaxed_gpu(parts + at * kPartColumns<C> + word);
//flags:     };
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < 3 * kBatch; i++) look(i);
//flags:     for (u32 spins = 1;; spins++) {
//flags:       bool missing = false;
//flags: #pragma unroll
//flags:       for (u32 i = 0; i < kBatch; i++) {
//flags:         const bool hasNone = words[3 * i + 1] == 0;  // a sum of 0: its values need not come
//flags:         missing = missing || words[3 * i] == kAbsent || words[3 * i + 1] == kAbsent ||
//flags:                   (!hasNone && words[3 * i + 2] == kAbsent);
//flags:       }
//flags:       if (!missing || ends_poll(c, spins, C::kPartsOperand)) break;
//flags: #pragma unroll
//flags:       for (u32 i = 0; i < 3 * kBatch; i++) {
//flags:         if (words[i] == kAbsent) look(i);
//flags:       }
//flags:     }
//flags:     Joined batch[kBatch];
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < kBatch; i++) {
//flags:       batch[i].clear();
//flags:       if (split0 + i * kStep >= C::kSplits) continue;
//flags:       batch[i].most = bits_to_f32(words[3 * i]);
//flags:       batch[i].sum = bits_to_f32(words[3 * i + 1]);
//flags:       batch[i].value = bits_to_f32(words[3 * i + 2]);
//flags:     }
//flags:     all.add(batch);
//flags:   }
//flags: }

// A tile of a single token: each warp joins every kConsumerWarps-th split, a column a lane, so that
// one latency brings all; then the warps' sums are added in their order.
template <class C>
MPK_DEVICE void merge_tile_of_one(const Context& c, const u32* ops, u32 tile, float* out) {
  static_assert(C::kTile <= 32, "a column a lane");
  constexpr u32 kMine = (C::kSplits + kConsumerWarps - 1) / kConsumerWarps;
  constexpr u32 kBatch = kMine < 4 ? kMine : 4;
  const u32 column = tile * C::kTile + c.lane;
  float* joined = reinterpret_cast<float*>(c.work) + c.lane;  // [warp][most, sum, value][lane]
  Joined all;
  all.clear();
  if (c.lane < C::kTile && c.warp < C::kSplits) {
    //flags: if (C::kPartsFlagged) {
    //flags:   poll_splits<C, kConsumerWarps, kBatch>(c, ops[C::kPartsFlag], column, c.warp, all);
    //flags: } else
    join_splits<C, kConsumerWarps, kBatch>(in_scratch<float>(c, ops[C::kPartsOperand]), column,
                                           c.warp, all);
  }
  joined[c.warp * 96] = all.most;
  joined[c.warp * 96 + 32] = all.sum;
  joined[c.warp * 96 + 64] = all.value;
  consumer_barrier();
  //flags: //profile: if (C::kPartsFlagged) mark_ready(c, tile);
  if (c.warp > 0 || c.lane >= C::kTile) return;
  Joined warps[kConsumerWarps];
#pragma unroll
  for (u32 w = 0; w < kConsumerWarps; w++) {
    warps[w] = {joined[w * 96], joined[w * 96 + 32], joined[w * 96 + 64]};
  }
  all.clear();
  all.add(warps);
  store_joined<C>(c, out + column, all.value * reciprocal_fast(all.sum));
}

template <class C> MPK_DEVICE void run_attention_merge(Context& c, const u32* in) {
  constexpr u32 kBatch = C::kSplits < 8 ? C::kSplits : 8;
  const u32* ops = operands(in);
  begin_task(c, in);
  float* out = joined_row<C>(c, ops);
  if (c.tokens == 1) {
    for (u32 tile = in[kWordTileLo]; tile < in[kWordTileHi]; tile++) {
      if (tile > in[kWordTileLo]) consumer_barrier();  // the sums of the tile before have been read
      merge_tile_of_one<C>(c, ops, tile, out);
    }
    end_task(c, in);
    return;
  }
  const float* parts = in_scratch<float>(c, ops[C::kPartsOperand]);
  const u32 lo = in[kWordTileLo] * C::kTile, width = in[kWordTileHi] * C::kTile - lo;
  for (u32 e = c.thread; e < c.tokens * width; e += kConsumerThreads) {
    const u32 row = e / width, column = lo + e % width;
    Joined all;
    all.clear();
    join_splits<C, 1, kBatch>(parts + static_cast<u64>(row) * C::kPartsStride, column, 0, all);
    store_joined<C>(c, out + static_cast<u64>(row) * C::kOutStride + column, all.value / all.sum);
  }
  end_task(c, in);
}
