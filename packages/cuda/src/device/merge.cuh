// The merge of attention's parts: sums of the splits in their order, the same for every timing.

// Constants of the merge: kHeads, kKvHeads, kD, kSplits, kTile, kPartsStride, kOutStride, operands.

// Several parts of one element of the result, added up: values weighted by 2^(score - most).
struct Joined {
  float most, sum, value;

  MPK_DEVICE void clear() {
    most = kMinusInfinity;
    sum = value = 0.0f;
  }
  MPK_DEVICE void add(float otherMost, float otherSum, float otherValue) {
    if (otherSum == 0.0f) return;  // a split without keys may have written no values
    const float maximum = m_max(most, otherMost);
    const float keep = exp2_fast(most - maximum), weight = exp2_fast(otherMost - maximum);
    most = maximum;
    sum = sum * keep + otherSum * weight;
    value = value * keep + otherValue * weight;
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
    float m[kBatch], w[kBatch], v[kBatch];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      m[i] = w[i] = v[i] = 0.0f;
      if (split0 + i * kStep >= C::kSplits) continue;
      const u32 at = (split0 + i * kStep) * kPartColumns<C>;
      m[i] = load_f32(parts + from.stats + at);
      w[i] = load_f32(parts + from.stats + at + 1);
      v[i] = load_f32(parts + from.values + at);
    }
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) all.add(m[i], w[i], v[i]);
  }
}

//flags: // The same of flagged parts.
//flags: template <class C, u32 kStep, u32 kBatch>
//flags: MPK_DEVICE void poll_splits(const Context& c, u32 operand, u32 column, u32 first, Joined& all) {
//flags:   const JoinedFrom<C> from(column);
//flags: #pragma unroll 1
//flags:   for (u32 split0 = first; split0 < C::kSplits; split0 += kBatch * kStep) {
//flags:     u32 words[kBatch][3], at[kBatch];
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < kBatch; i++) {
//flags:       const u32 split = split0 + i * kStep;
//flags:       at[i] = (split < C::kSplits ? split : first) * kPartColumns<C>;
//flags:       words[i][0] = look_at<float>(c, operand, from.stats + at[i]);
//flags:       words[i][1] = look_at<float>(c, operand, from.stats + at[i] + 1);
//flags:       words[i][2] = look_at<float>(c, operand, from.values + at[i]);
//flags:     }
//flags: #pragma unroll
//flags:     for (u32 i = 0; i < kBatch; i++) {
//flags:       float got[3];
//flags: #pragma unroll
//flags:       for (u32 j = 0; j < 3; j++) {
//flags:         const u32 word = j < 2 ? from.stats + at[i] + j : from.values + at[i];
//flags:         got[j] = await_one<float>(c, operand, word, words[i][j], C::kPartsOperand);
//flags:       }
//flags:       if (split0 + i * kStep < C::kSplits) all.add(got[0], got[1], got[2]);
//flags:     }
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
  //flags: //profile: if (C::kPartsFlagged) mark_ready(c, tile);
  joined[c.warp * 96] = all.most;
  joined[c.warp * 96 + 32] = all.sum;
  joined[c.warp * 96 + 64] = all.value;
  consumer_barrier();
  if (c.warp > 0 || c.lane >= C::kTile) return;
  for (u32 w = 1; w < kConsumerWarps; w++) {
    all.add(joined[w * 96], joined[w * 96 + 32], joined[w * 96 + 64]);
  }
  store_joined<C>(c, out + column, all.value / all.sum);
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
