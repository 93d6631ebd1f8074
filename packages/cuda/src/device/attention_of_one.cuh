// Attention of a step of one token, for heads of up to 128 dims: one query head an SM. All that does not
// depend on the step's operands is had before they are there, or left until the result has gone; between
// lie two barriers. See tiles.cuh for what a warp does.

// One warp: the query in two terms, not yet scaled by its norm: that is known later than its numbers.
template <class C>
MPK_DEVICE void store_terms(const OneShared<C>& s, u32 lane, HeadRow<C>& row) {
  row.store_bf16(s.query, lane);
#pragma unroll
  for (u32 i = 0; i < HeadPairs<C>::kCount; i++) {
    row.low[i] -= round_bf16(row.low[i]);
    row.high[i] -= round_bf16(row.high[i]);
  }
  row.store_bf16(s.query + OneShared<C>::kTerm, lane);
}

// Three warps: the rows of q, k and v to shared memory.
template <class C>
MPK_DEVICE void prepare_one(const Context& c, const u32* ops, const OneShared<C>& s, u32 head,
                            const RowNeeds<C>& needs) {
  for (u32 which = c.warp; which < 3; which += kConsumerWarps) {
    HeadRow<C> row;
    //flags: if (poll_row<C>(c, ops, head, which, row)) {} else
    load_operand<C>(row, c, ops, which, 0, which == 0 ? head : head / (C::kHeads / C::kKvHeads));
    if (which == 0) {
      if (C::kQkNorm) {
        // What the shuffles take is hidden behind the turn, more of them would not be.
        float squares = row.squares();
        squares += shuffle_xor(squares, 16);
        squares += shuffle_xor(squares, 8);
        if (c.lane < 8) s.squares[c.lane] = squares;
        row.multiply(needs.gains, 1.0f);
      }
      row.turn(needs.turn);
      store_terms<C>(s, c.lane, row);
    } else {
      if (which == 1) {
        row.norm(needs.gains);
        row.turn(needs.turn);
      }
      row.store_bf16(which == 1 ? s.k : s.v, c.lane);
    }
  }
}

// The step's own key is a part of its own beside those of the warps: its score has all of the sum.
template <class C>
MPK_DEVICE float score_own(const OneShared<C>& s, u32 lane) {
  const u32* high = reinterpret_cast<const u32*>(s.query);
  const u32* low = high + OneShared<C>::kTerm / 2;
  const u32* key = reinterpret_cast<const u32*>(s.k);
  float sum = 0.0f;
#pragma unroll
  for (u32 i = lane; i < C::kD / 2; i += 32) {
    sum += (bf16_low(high[i]) + bf16_low(low[i])) * bf16_low(key[i]);
    sum += (bf16_high(high[i]) + bf16_high(low[i])) * bf16_high(key[i]);
  }
  return warp_sum(sum);
}

// Eight neighbours in shared memory.
MPK_DEVICE void load_eight(const float* from, float (&to)[8]) {
#pragma unroll
  for (u32 i = 0; i < 2; i++) {
    const Vec4 v = reinterpret_cast<const Vec4*>(from)[i];
    to[4 * i] = bits_to_f32(v.x); to[4 * i + 1] = bits_to_f32(v.y);
    to[4 * i + 2] = bits_to_f32(v.z); to[4 * i + 3] = bits_to_f32(v.w);
  }
}

// Dim d of the result: the parts of all warps and of the step's own key.
template <class C> MPK_DEVICE float join_parts(const OneShared<C>& s, u32 d) {
  constexpr u32 kParts = kConsumerWarps + 1;
  Vec4 stats[OneShared<C>::kStats / 4];  // of two parts each
  float most = kMinusInfinity, sum = 0.0f, value = 0.0f;
#pragma unroll
  for (u32 i = 0; i < kParts; i++) {
    if (i % 2 == 0) stats[i / 2] = reinterpret_cast<const Vec4*>(s.stats)[i / 2];
    most = m_max(most, bits_to_f32(i % 2 == 0 ? stats[i / 2].x : stats[i / 2].z));
  }
#pragma unroll
  for (u32 i = 0; i < kParts; i++) {
    const Vec4 two = stats[i / 2];
    const float keep = exp2_fast(bits_to_f32(i % 2 == 0 ? two.x : two.z) - most);
    sum += keep * bits_to_f32(i % 2 == 0 ? two.y : two.w);
    value += keep * (i < kConsumerWarps ? s.values[i * C::kD + d] : bf16_to_f32(s.v[d]));
  }
  return value * reciprocal_fast(sum);
}

template <class C> MPK_DEVICE void run_attention_of_one(Context& c, const u32* in) {
  constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  const u32* ops = operands(in);
  const OneShared<C> s(c.work);
  u16* cache = reinterpret_cast<u16*>(c.params->kv + static_cast<u64>(ops[C::kStateOperand]) * 256);
  const i32* pages = reinterpret_cast<const i32*>(c.params->pageTable);
  const OnePast<C> past(c, cache, pages);
  const u32 lo = in[kWordTileLo], hi = in[kWordTileHi];
  OneWarp<C> warp;
  RowNeeds<C> needs = {};
  prefetch_past<C>(c, cache, pages, lo / kGroup,
                   past.first + (OneMap<C>::kEarly ? OneMap<C>::kTiles * OneMap<C>::kTurn : 0));
  if (c.warp < 3) needs.prepare(c, ops, c.warp, c.position);
  //hold: if (c.thread == 0) *static_cast<volatile u32*>(&c.shared->hold) = place_of(c);
#pragma unroll 1
  for (u32 head = lo; head < hi; head++) {
    const u32 kvHead = head / kGroup;
    warp.load(c, past, kvHead);
    if (head == lo) begin_task(c, in);
    else consumer_barrier();  // what the head before left in shared memory has been read
    float* out = in_scratch<float>(c, ops[C::kOutOperand]);
    //flags: if (C::kOutFlagged) out = in_copy<float>(c, ops[C::kOutFlag]);
    warp.clear(c, s);
    prepare_one<C>(c, ops, s, head, needs);
    consumer_barrier();
    //hold: if (c.thread == 0) *static_cast<volatile u32*>(&c.shared->hold) = 0;
    //flags: //profile: if (head == lo) mark_aside(c, kMarkReady);
    float scale = C::kScale * 1.4426950408889634f;
    if (C::kQkNorm) {
      float part[8], sum = 0.0f;
      load_eight(s.squares, part);
      sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
      scale *= m_rsqrt(sum * (1.0f / static_cast<float>(C::kD)) + C::kEps);
    }
    if (c.warp == kConsumerWarps - 1) {  // the one with the fewest tiles
      const float own = score_own<C>(s, c.lane) * scale;
      if (c.lane == 0) s.stats[2 * kConsumerWarps] = own;
      if (c.lane == 0) s.stats[2 * kConsumerWarps + 1] = 1.0f;
    }
    warp.run(c, s, past, kvHead, scale);
    consumer_barrier();
    for (u32 d = c.thread; d < C::kD; d += kConsumerThreads) {
      const float value = join_parts<C>(s, d);
      //flags: if (C::kOutFlagged) {
      //flags:   if (!is_aborted(c)) store_word(c, word_at(out + head * C::kD + d), f32_to_bits(value));
      //flags:   continue;
      //flags: }
      //many: if (C::kRounds) {
      //many:   store_one(in_scratch<u16>(c, operands(in)[C::kOutOperand]) + head * C::kD + d, value);
      //many:   continue;
      //many: }
      store_attended(out + head * C::kD + d, value);
    }
    if (head % kGroup == 0) append_rows<C>(c, s.k, s.v, cache, pages, kvHead);
  }
  end_task(c, in);
}

//few: template <class C> MPK_DEVICE void run_attention_of_few(Context& c, const u32* in);
// Attention's task in a step of one token; false: wide heads go the way of several.
template <class C> MPK_DEVICE bool run_attention_alone(Context& c, const u32* in) {
  if constexpr (OneMap<C>::kHas) run_attention_of_one<C>(c, in);
  return OneMap<C>::kHas;
}

// The other steps' task.
template <class C> MPK_DEVICE void run_attention(Context& c, const u32* in) {
  if constexpr (OneMap<C>::kHas) {
    //few: // A window's limits need registers, and so do norms.
    //few: constexpr bool kFew = OneMap<C>::kEarly && !kFewRegisters
    //few:     && !(C::kQkNorm && C::kWindow != 0)
    //few:     //profile: && C::kWindow == 0  // marks need some, too
    //few:     ;
    //few: if constexpr (kFew) return run_attention_of_few<C>(c, in);
  }
  if constexpr (!OneMap<C>::kHas || kMaxTokens > 1) run_attention_of_many<C>(c, in);
}
