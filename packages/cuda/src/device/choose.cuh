// From logits to a token: block maxima, argmax, sampling, and the next step's descriptor.

struct Best {
  float value;
  u32 index;
};

// The larger value; the lower index among equals.
MPK_DEVICE Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
MPK_DEVICE Best warp_best(Best b) {
  for (int mask = 16; mask > 0; mask >>= 1) {
    Best other = {shuffle_xor(b.value, mask), shuffle_xor(b.index, mask)};
    b = better(b, other);
  }
  return b;
}

// All consumer threads: the best of one candidate each, the same everywhere.
MPK_DEVICE Best group_best(Context& c, Best b) {
  b = warp_best(b);
  if (c.lane == 0) {
    c.shared->reduce[c.warp] = b.value;
    c.shared->reduce[32 + c.warp] = bits_to_f32(b.index);
  }
  consumer_barrier();
  b = Best{c.shared->reduce[0], f32_to_bits(c.shared->reduce[32])};
  for (u32 w = 1; w < kConsumerWarps; w++) {
    b = better(b, Best{c.shared->reduce[w], f32_to_bits(c.shared->reduce[32 + w])});
  }
  consumer_barrier();
  return b;
}

// Stands for no candidate yet: loses against any number, and against -infinity by its index. NaN
// never wins.
MPK_DEVICE Best no_candidate() { return Best{bits_to_f32(0xff800000u), 0x7fffffffu}; }

// Tile i: maximum of columns [i * kBlock, (i + 1) * kBlock) and its index. One warp a tile.
template <class C> MPK_DEVICE void run_block_max(Context& c, const u32* in) {
  constexpr u32 kTurns = (C::kBlock + 31) / 32;
  const u32* ops = operands(in);
  begin_task(c, in);
  const float* x = in_scratch<float>(c, ops[C::kXOperand]);
  float* out = in_scratch<float>(c, ops[C::kOutOperand]);
  for (u32 tile = in[kWordTileLo] + c.warp; tile < in[kWordTileHi]; tile += kConsumerWarps) {
    u32 lo = tile * C::kBlock, hi = lo + C::kBlock < C::kN ? lo + C::kBlock : C::kN;
    float values[kTurns];
#pragma unroll
    for (u32 t = 0; t < kTurns; t++) {
      const u32 i = lo + t * 32 + c.lane;
      values[t] = i < hi ? load_f32(x + i) : bits_to_f32(0xff800000u);
    }
    Best best = no_candidate();
#pragma unroll
    for (u32 t = 0; t < kTurns; t++) {
      const u32 i = lo + t * 32 + c.lane;
      if (i < hi) best = better(best, Best{values[t], i});
    }
    best = warp_best(best);
    if (c.lane == 0) {
      out[2 * tile] = best.value;
      out[2 * tile + 1] = bits_to_f32(best.index);
    }
  }
  end_task(c, in);
}

template <class C> MPK_DEVICE void run_argmax(Context& c, const u32* in) {
  const u32* ops = operands(in);
  begin_task(c, in);
  i32* out = in_scratch<i32>(c, ops[C::kOutOperand]);
  const u32 rows = C::kRows == 1 ? 1 : c.tokens;
  for (u32 row = 0; row < rows; row++) {
    const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]) +
                             static_cast<u64>(row + C::first_row(c)) * C::kXStride;
    Best best = no_candidate();
    for (u32 i = c.thread; i < C::kN; i += kConsumerThreads) {
      best = better(best, Best{load_one(x + i), i});
    }
    best = group_best(c, best);
    if (c.thread == 0) out[row] = static_cast<i32>(best.index);
  }
  end_task(c, in);
}

// One thread: hands the token out and writes the next step's descriptor.
MPK_DEVICE void publish_token(Context& c, u32 token) {
  const Params& p = *c.params;
  const StepInfo& now = c.shared->step;
  StepInfo* next = reinterpret_cast<StepInfo*>(p.steps) + ((c.step + 1) & 1u);
  const u32 position = now.position + now.tokens;
  const u32 promptLeft = p.startPosition + p.promptCount - position;
  u32 status = kStatusRunning, produced = now.produced, tokens = 1;
  if (static_cast<i32>(promptLeft) > 0) {
    tokens = promptLeft < p.promptChunk ? promptLeft : p.promptChunk;
    const i32* prompt = reinterpret_cast<const i32*>(p.prompt) + (p.promptCount - promptLeft);
    for (u32 i = 0; i < tokens; i++) next->ids[i] = prompt[i];
  } else {
    next->ids[0] = static_cast<i32>(token);
    if (token < kVocab && produced < p.maxNew) {
      reinterpret_cast<i32*>(p.tokens)[produced] = static_cast<i32>(token);
      produced++;
      store_release_system(control_word(p, kControlProduced), produced);
    }
    for (u32 i = 0; i < p.eosCount; i++) {
      if (p.eos[i] == static_cast<i32>(token)) status = kStatusEos;
    }
    if (produced >= p.maxNew && status == kStatusRunning) status = kStatusMaxNew;
    if (status == kStatusRunning && position >= kMaxContext) status = kStatusContextFull;
    if (token >= kVocab) status = kStatusBadToken;
  }
  if (status == kStatusRunning && load_relaxed_system(control_word(p, kControlStop))) {
    status = kStatusStopped;
  }
  if (p.stamps && c.step < p.stampCount) reinterpret_cast<u64*>(p.stamps)[c.step] = now_nanos();
  next->tokens = tokens;
  next->position = position;
  next->produced = produced;
  next->stop = status != kStatusRunning;
  store_release_system(control_word(p, kControlSteps), c.step + 1);
  if (status != kStatusRunning) store_release_system(control_word(p, kControlStatus), status);
}

// Greedy from the block maxima if there are any, else from the logits.
template <class C> MPK_DEVICE u32 choose_greedy(Context& c, const u32* ops, const float* logits) {
  Best best = no_candidate();
  if constexpr (C::kBlocks > 0) {
    const float* pairs = in_scratch<float>(c, ops[C::kBlockMaxOperand]);
    for (u32 i = c.thread; i < C::kBlocks; i += kConsumerThreads) {
      Best one = {load_f32(pairs + 2 * i), f32_to_bits(load_f32(pairs + 2 * i + 1))};
      best = better(best, one);
    }
  } else {
    for (u32 i = c.thread; i < kVocab; i += kConsumerThreads) {
      best = better(best, Best{load_f32(logits + i), i});
    }
  }
  return group_best(c, best).index;
}

template <class C> MPK_DEVICE void run_sample(Context& c, const u32* in) {
  const u32* ops = operands(in);
  begin_task(c, in);
  const Params& p = *c.params;
  const float* logits = in_scratch<float>(c, ops[C::kXOperand]);
  if (p.logitsLog && c.step < p.logitsSteps) {
    float* log = reinterpret_cast<float*>(p.logitsLog) + static_cast<u64>(c.step) * kVocab;
    for (u32 i = c.thread; i < kVocab; i += kConsumerThreads) log[i] = load_f32(logits + i);
  }
  const bool prompting = c.position + c.tokens < p.startPosition + p.promptCount;
  u32 token = 0;
  if (!prompting) {
    token = choose_greedy<C>(c, ops, logits);
    if (p.temperature > 0.0f) token = choose_sampled(c, logits, token);
  }
  if (c.thread == 0 && !is_aborted(c)) {
    *in_scratch<i32>(c, ops[C::kOutOperand]) = static_cast<i32>(token);
    publish_token(c, token);
  }
  end_task(c, in);
}
