// Flags in the data: steps of one token hand values over word by word, without events. A word that is
// kAbsent has not come yet. Each value has one row in two copies that take turns: its writer stores a
// word into this step's copy and clears the same word of the other, which nobody looks at before the
// next step; between steps lies the gate. See docs/adr/0006-flag-in-data.md.
//
// Constants of a body: kFlagged (any operand is flagged), for each such operand whether it is and where
// its copy is among the operand words (kXFlagged, kXFlag).

constexpr u32 kAbsent = 0xffffffffu;
constexpr u32 kOtherNan = 0x7fffffffu;  // written for a NaN that looks absent

// A flagged operand's row in the copy of this step; `word` counts 16 bytes.
template <class E> MPK_DEVICE E* in_copy(const Context& c, u32 word) {
  return reinterpret_cast<E*>(c.params->scratch + static_cast<u64>(word) * 16 +
                              c.shared->copyOffset);
}

// The same word of the other copy.
MPK_DEVICE u32* other_copy(const Context& c, u32* word) {
  const u32 offset = c.shared->copyOffset;
  return reinterpret_cast<u32*>(reinterpret_cast<u8*>(word) - offset + (kFlagCopyBytes - offset));
}

// Hands a word over, and clears it in the other copy.
MPK_DEVICE void store_word(const Context& c, u32* to, u32 value) {
  store_relaxed_gpu(to, value == kAbsent ? kOtherNan : value);
  store_relaxed_gpu(other_copy(c, to), kAbsent);
}

// True: give up. `spins` counts looks from 1; `input` says whose words are missing.
MPK_DEVICE bool ends_poll(const Context& c, u32 spins, u32 input) {
  poll_pause();
  return spins % kPatience == 0 && gives_up(c, kReportFlag, input, 1, 0);
}

MPK_DEVICE u32* word_at(float* p) { return reinterpret_cast<u32*>(p); }

// ---- single words --------------------------------------------------------------------------------
// The word that has element i of a row.
MPK_DEVICE const u32* word_of(const float* row, u32 i) {
  return reinterpret_cast<const u32*>(row) + i;
}
MPK_DEVICE const u32* word_of(const u16* row, u32 i) {
  return reinterpret_cast<const u32*>(row) + i / 2;
}
MPK_DEVICE float in_word(const float*, u32 word, u32) { return bits_to_f32(word); }
MPK_DEVICE float in_word(const u16*, u32 word, u32 i) {
  return i % 2 == 0 ? bf16_low(word) : bf16_high(word);
}

// Looks once; `await_one` gives the number, looking again while the word is absent.
template <class X> MPK_DEVICE u32 look_at(const Context& c, u32 operand, u32 i) {
  return load_relaxed_gpu(word_of(in_copy<X>(c, operand), i));
}
template <class X>
MPK_DEVICE float await_one(const Context& c, u32 operand, u32 i, u32 word, u32 input) {
  const X* row = in_copy<X>(c, operand);
  for (u32 spins = 1; word == kAbsent; spins++) {
    if (ends_poll(c, spins, input)) break;
    word = load_relaxed_gpu(word_of(row, i));
  }
  return in_word(row, word, i);
}
template <class X> MPK_DEVICE float poll_one(const Context& c, u32 operand, u32 i, u32 input) {
  return await_one<X>(c, operand, i, look_at<X>(c, operand, i), input);
}

// ---- vectors ---------------------------------------------------------------------------------------
MPK_DEVICE bool is_there(Vec4 v) {
  return v.x != kAbsent && v.y != kAbsent && v.z != kAbsent && v.w != kAbsent;
}

// Looks once at the vectors first, first + kConsumerThreads, ... below `limit` of a row; zeros are those
// beyond. All looks are on their way at once.
template <u32 kCount>
MPK_DEVICE void look_at_vectors(const Vec4* row, u32 first, u32 limit, Vec4 (&v)[kCount]) {
#pragma unroll
  for (u32 i = 0; i < kCount; i++) {
    v[i] = Vec4{0, 0, 0, 0};
    const u32 at = first + i * kConsumerThreads;
    if (at < limit) v[i] = load_relaxed_vec4_gpu(row + at);
  }
}
// Looks again at those that were missing, until none is.
template <u32 kCount>
MPK_DEVICE void await_vectors(const Context& c, const Vec4* row, u32 first, u32 input,
                              Vec4 (&v)[kCount]) {
  for (u32 spins = 1;; spins++) {
    u32 missing = 0;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) missing += is_there(v[i]) ? 0 : 1;
    if (missing == 0 || ends_poll(c, spins, input)) return;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      if (!is_there(v[i])) v[i] = load_relaxed_vec4_gpu(row + first + i * kConsumerThreads);
    }
  }
}

// ---- what bodies do with it ------------------------------------------------------------------------
// Whole warps call: one column a lane, neighbours in neighbouring lanes. `mine`: the lane has one.
template <class C>
MPK_DEVICE void store_column(const Context& c, const u32* ops, bool mine, u32 column, float y,
                             bool aborted) {
  typedef typename C::Out Out;
  if constexpr (!C::kOutFlagged) {
    if (mine) store_one(in_scratch<Out>(c, ops[C::kOutOperand]) + column, y);
  } else if constexpr (sizeof(Out) == 4) {
    u32* to = in_copy<u32>(c, ops[C::kOutFlag]) + column;
    if (mine && !aborted) store_word(c, to, f32_to_bits(y));
  } else {
    const float right = shuffle_xor(y, 1);
    u32* to = in_copy<u32>(c, ops[C::kOutFlag]) + column / 2;
    if (mine && !aborted && column % 2 == 0) store_word(c, to, pack_bf16(y, right));
  }
}

// Columns of the one row through C::element_of_one(c, ops, column).
template <class C> MPK_DEVICE void run_elements_of_one(Context& c, const u32* in) {
  const u32* ops = operands(in);
  begin_task(c, in);
  const u32 lo = in[kWordTileLo] * C::kTile;
  const u32 end = in[kWordTileHi] * C::kTile, hi = end < C::kN ? end : C::kN;
  for (u32 base = lo + c.warp * 32; base < hi; base += kConsumerThreads) {
    const u32 column = base + c.lane;
    const bool mine = column < hi;
    const float y = mine ? C::element_of_one(c, ops, column) : 0.0f;
    store_column<C>(c, ops, mine, column, y, is_aborted(c));
  }
  end_task(c, in);
}

// One warp: a head's row, which starts at `column` of a flagged operand. Each look is at all that is
// missing: one word after the other would take a latency each.
template <class C, class X>
MPK_DEVICE void poll_head(const Context& c, u32 operand, u32 column, u32 input, HeadRow<C>& row) {
  typedef HeadPairs<C> Pairs;
  constexpr u32 kCount = 2 * Pairs::kCount;  // lower and upper half in turns
  const X* from = in_copy<X>(c, operand) + column;
  u32 dims[kCount], words[kCount];
#pragma unroll
  for (u32 i = 0; i < kCount; i++) {
    dims[i] = Pairs::has(c.lane, i / 2) ? Pairs::dim(c.lane, i / 2) + i % 2 * Pairs::kHalf : 0;
    words[i] = load_relaxed_gpu(word_of(from, dims[i]));
  }
  for (u32 spins = 1;; spins++) {
    bool missing = false;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) missing = missing || words[i] == kAbsent;
    if (!missing || ends_poll(c, spins, input)) break;
#pragma unroll
    for (u32 i = 0; i < kCount; i++) {
      if (words[i] == kAbsent) words[i] = load_relaxed_gpu(word_of(from, dims[i]));
    }
  }
#pragma unroll
  for (u32 i = 0; i < Pairs::kCount; i++) {
    row.low[i] = in_word(from, words[2 * i], dims[2 * i]);
    row.high[i] = in_word(from, words[2 * i + 1], dims[2 * i + 1]);
    if (!Pairs::has(c.lane, i)) row.low[i] = row.high[i] = 0.0f;
  }
}

// The row `which` of a head (0 q, 1 k, 2 v), if this step hands it over by flags.
template <class C>
MPK_DEVICE bool poll_row(const Context& c, const u32* ops, u32 head, u32 which, HeadRow<C>& row) {
  const u32 kvHead = head / (C::kHeads / C::kKvHeads);
  if (c.tokens != 1) return false;
  if (C::kQFlagged && which == 0) {
    poll_head<C, typename C::Q>(c, ops[C::kQFlag], head * C::kD, C::kQOperand, row);
    return true;
  }
  if (C::kKFlagged && which == 1) {
    poll_head<C, typename C::K>(c, ops[C::kKFlag], kvHead * C::kD, C::kKOperand, row);
    return true;
  }
  if (C::kVFlagged && which == 2) {
    poll_head<C, typename C::V>(c, ops[C::kVFlag], kvHead * C::kD, C::kVOperand, row);
    return true;
  }
  return false;
}
