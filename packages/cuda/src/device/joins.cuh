// What the warps of an SM have summed up becomes a part of attention: shared memory and words of a part.

// Constants of a part: see parts.cuh.

// Columns of one part: weighted values of the group's heads, then (maximum, sum) of each.
template <class C> constexpr u32 kPartColumns = C::kHeads / C::kKvHeads * (C::kD + 2);

// Shared memory: eight queries in two bf16 terms, then each warp's (maximum, sum) of every query, and
// a run of its weighted values: of eight queries, kMergeDims.
template <class C> struct PartShared {
  u8* query;
  float* stats;   // [warp][query][2]
  float* values;  // [warp][query][dims, and four words]
  MPK_DEVICE explicit PartShared(u8* work) {
    query = work;
    stats = reinterpret_cast<float*>(query + UnitMap<C>::kQueryBytes);
    values = stats + kConsumerWarps * 16;
  }
};

// A float of a part, or of the merged result.
template <class C> MPK_DEVICE void store_joined(const Context& c, float* to, float value) {
  //flags: if (C::kOutFlagged && c.tokens == 1) {
  //flags:   if (!is_aborted(c)) store_word(c, word_at(to), f32_to_bits(value));
  //flags:   return;
  //flags: }
  *to = value;
}

// Where a task writes: the row of this step's copy where that is what readers poll.
template <class C> MPK_DEVICE float* joined_row(const Context& c, const u32* ops) {
  //flags: if (C::kOutFlagged && c.tokens == 1) return in_copy<float>(c, ops[C::kOutFlag]);
  return in_scratch<float>(c, ops[C::kOutOperand]);
}

// Dims of a warp's values that are in shared memory at once, of kColumns queries.
template <class C, u32 kColumns> MPK_DEVICE constexpr u32 joined_dims() {
  for (u32 dims = C::kD; dims > C::kMergeDims; dims -= 16) {
    if (C::kD % dims == 0 && kColumns * (dims + 4) <= 8 * (C::kMergeDims + 4)) return dims;
  }
  return C::kMergeDims;
}

// Joins the sums of the first `warps` turns and writes `columns` (up to kColumns) columns of the part:
// all scaled to their common maximum and added in the order of turns.
template <class C, u32 kColumns>
MPK_DEVICE void join_warps(const Context& c, const PartShared<C>& s, const UnitSums<C>& sums,
                           u32 turn, u32 warps, u32 column0, u32 columns, float* part) {
  constexpr u32 kGroup = UnitMap<C>::kGroup, kDims = joined_dims<C, kColumns>();
  constexpr u32 kStride = kDims + 4;  // lanes of a quad in different banks
  const u32 q = c.lane & 3u, g = c.lane >> 2;
#pragma unroll
  for (u32 d0 = 0; d0 < C::kD; d0 += kDims) {
    if (d0 > 0) consumer_barrier();
    if (turn < warps && 2 * q < kColumns) {
#pragma unroll
      for (u32 i = 0; i < kDims / 16; i++) {
        float* to = s.values + (turn * kColumns + 2 * q) * kStride + i * 16 + g;
        const float(&v)[4] = sums.value[d0 / 16 + i];
        to[0] = v[0];
        to[8] = v[2];
        if (2 * q + 1 >= kColumns) continue;
        to[kStride] = v[1];
        to[kStride + 8] = v[3];
      }
    }
    consumer_barrier();
    for (u32 e = c.thread; e < columns * kDims; e += kConsumerThreads) {
      const u32 d = e % kDims, own = e / kDims, column = column0 + own;
      float most = kMinusInfinity, sum = 0.0f, value = 0.0f;
#pragma unroll
      for (u32 w = 0; w < kConsumerWarps; w++) {
        if (w < warps) most = m_max(most, s.stats[(w * 8 + own) * 2]);
      }
#pragma unroll
      for (u32 w = 0; w < kConsumerWarps; w++) {
        if (w >= warps) continue;
        const float* stats = s.stats + (w * 8 + own) * 2;
        const float weight = exp2_fast(stats[0] - most);
        sum += stats[1] * weight;
        value += s.values[(w * kColumns + own) * kStride + d] * weight;
      }
      float* row = part + static_cast<u64>(column / kGroup) * C::kOutStride;
      store_joined<C>(c, row + column % kGroup * C::kD + d0 + d, value);
      if (d0 + d > 0) continue;
      // A query that sees none of the keys has summed up what it does not see.
      if (most <= kMinusInfinity) sum = 0.0f;
      store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2, most);
      store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2 + 1, sum);
    }
  }
}

// A part without keys: no values, but sums of 0, and a maximum that no other part has.
template <class C>
MPK_DEVICE void store_empty(const Context& c, u32 column0, u32 columns, float* part) {
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  constexpr u32 kNone = 0xff800000u;  // minus infinity
  //flags: bool isClear = true;
  //flags: if (C::kOutFlagged && c.tokens == 1) {
  //flags:   isClear = load_relaxed_gpu(other_copy(c, word_at(part + kGroup * C::kD))) == kNone;
  //flags:   consumer_barrier();  // all have read it: it is cleared next
  //flags: }
  if (c.thread < columns) {
    const u32 column = column0 + c.thread;
    float* row = part + static_cast<u64>(column / kGroup) * C::kOutStride;
    store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2, bits_to_f32(kNone));
    store_joined<C>(c, row + kGroup * C::kD + column % kGroup * 2 + 1, 0.0f);
  }
  //flags: // The values of the step before are cleared, if it had any: nobody waits for those of this one.
  //flags: if (isClear || is_aborted(c)) return;
  //flags: for (u32 e = c.thread; e < columns * C::kD; e += kConsumerThreads) {
  //flags:   store_relaxed_gpu(other_copy(c, word_at(part + column0 * C::kD + e)), kAbsent);
  //flags: }
}

// Columns of the part: what the warps have summed up.
template <class C>
MPK_DEVICE void finish_part(const Context& c, const PartShared<C>& s, UnitSums<C>& sums, u32 turn,
                            u32 warps, u32 column0, u32 columns, float* part) {
  if (warps == 0) return store_empty<C>(c, column0, columns, part);
  sums.close();
  if (c.lane < 4) {
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
      float* stats = s.stats + (turn * 8 + 2 * c.lane + e) * 2;
      stats[0] = sums.maximum[e];
      stats[1] = sums.sum[e];
    }
  }
  constexpr u32 kGroup = UnitMap<C>::kGroup;
  if constexpr (kGroup < 8) {
    if (c.tokens == 1) {
      return join_warps<C, kGroup>(c, s, sums, turn, warps, column0, columns, part);
    }
  }
  join_warps<C, 8>(c, s, sums, turn, warps, column0, columns, part);
}
