// Linear layers in steps of one token that polls what it reads, or hands over what it writes, word by
// word; see flags.cuh. A body's constants beyond linear.cuh's: struct ExtrasOfOne {
//   look(c, operands, column); await(c, operands, column); epilogue(acc) }.

// x of one token: from its words straight into registers, normed, as bf16 into shared memory.
template <class C> struct PolledRow {
  typedef typename C::X X;
  static constexpr u32 kPer = 16 / sizeof(X);  // columns of a vector
  static constexpr u32 kLimit = C::kK / kPer;
  static constexpr u32 kAll = C::kChunksPerTile * C::kBlocksPerChunk * 32 / kPer;
  static constexpr u32 kMine = (kAll + kConsumerThreads - 1) / kConsumerThreads;
  // A normed row that fits stays in registers, short ones' gains beside it; others pass in batches.
  static constexpr bool kKeeps = C::kNorm == 1 && sizeof(X) == 4 && kMine <= 8;
  static constexpr bool kEarlyGains = kKeeps && kMine <= 4;
  static constexpr u32 kBatch = C::kNorm != 0 ? (kMine < 4 ? kMine : 4) : (kMine < 8 ? kMine : 8);
  Gains gains[kEarlyGains ? kMine : 1];
  //profile: u32 ready;  // when x was there

  MPK_DEVICE void load_gains(const Context& c, const u32* ops) {
    if constexpr (kEarlyGains) {
      const typename C::Gain* from = in_resident<typename C::Gain>(c, ops[C::kGainOperand]);
#pragma unroll
      for (u32 i = 0; i < kMine; i++) {
        const u32 at = c.thread + i * kConsumerThreads;
        if (at < kLimit) gains[i].load(from + at * kPer);
      }
    }
  }

  MPK_DEVICE static void unpack(Vec4 v, float (&x)[kPer]) {
    const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (u32 i = 0; i < kPer; i++) {
      x[i] = in_word(static_cast<const X*>(nullptr), words[i * sizeof(X) / 4], i);
    }
  }
  MPK_DEVICE static void put(const Context& c, u32 at, const float (&x)[kPer]) {
    u32* to = reinterpret_cast<u32*>(c.work) + at * (kPer / 2);
    if constexpr (kPer == 4) {
      *reinterpret_cast<Vec2*>(to) = Vec2{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3])};
    } else {
      *reinterpret_cast<Vec4*>(to) = Vec4{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]),
                                          pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])};
    }
  }

  MPK_DEVICE void load(Context& c, const u32* ops) {
    const Vec4* row = in_copy<const Vec4>(c, ops[C::kXFlag]);
    if constexpr (kKeeps) {
      keep(c, ops, row);
    } else if constexpr (C::kNorm == 0) {
      pass(c, ops, row, 0.0f, 1.0f);
    } else {
      const float mean = C::kNorm == 2 ? average(c, row, 0.0f, 0) : 0.0f;
      const float scale = m_rsqrt(average(c, row, mean, 1) + C::kEps);
      //profile: ready = clock_word();
      pass(c, ops, row, mean, scale);
    }
  }

  MPK_DEVICE void keep(Context& c, const u32* ops, const Vec4* row) {
    Vec4 v[kMine];
    poll_vectors<kMine>(c, row, c.thread, kLimit, C::kXOperand, v);
    float squares = 0.0f, x[kPer];
#pragma unroll
    for (u32 i = 0; i < kMine; i++) {
      unpack(v[i], x);
#pragma unroll
      for (u32 j = 0; j < kPer; j++) squares += x[j] * x[j];
    }
    squares = group_sum(c, squares, 1) * (1.0f / static_cast<float>(C::kK));
    //profile: ready = clock_word();
    const float scale = m_rsqrt(squares + C::kEps);
#pragma unroll
    for (u32 i = 0; i < kMine; i++) {
      const u32 at = c.thread + i * kConsumerThreads;
      if (at >= kAll) continue;
      unpack(v[i], x);
      if (!kEarlyGains && at < kLimit) normalize(c, ops, at * kPer, 0.0f, scale, x);
      if (kEarlyGains && at < kLimit) {
        float gain[4];
        gains[kEarlyGains ? i : 0].get(static_cast<const typename C::Gain*>(nullptr), gain);
#pragma unroll
        for (u32 j = 0; j < kPer; j++) x[j] = x[j] * scale * gain[j % 4];
      }
      put(c, at, x);
    }
  }

  // Of x (slot 0), or of the squares of its distance from the mean (slot 1).
  MPK_DEVICE static float average(Context& c, const Vec4* row, float mean, u32 slot) {
    float sum = 0.0f;
    for (u32 i = 0; i < kMine; i += kBatch) {
      const u32 first = c.thread + i * kConsumerThreads;
      Vec4 v[kBatch];
      float x[kPer];
      poll_vectors<kBatch>(c, row, first, kLimit, C::kXOperand, v);
#pragma unroll
      for (u32 b = 0; b < kBatch; b++) {
        if (first + b * kConsumerThreads >= kLimit) continue;
        unpack(v[b], x);
#pragma unroll
        for (u32 j = 0; j < kPer; j++) sum += slot == 0 ? x[j] : (x[j] - mean) * (x[j] - mean);
      }
    }
    return group_sum(c, sum, slot) * (1.0f / static_cast<float>(C::kK));
  }

  MPK_DEVICE static void pass(Context& c, const u32* ops, const Vec4* row, float mean,
                              float scale) {
    for (u32 i = 0; i < kMine; i += kBatch) {
      const u32 first = c.thread + i * kConsumerThreads;
      Vec4 v[kBatch];
      poll_vectors<kBatch>(c, row, first, kLimit, C::kXOperand, v);
#pragma unroll
      for (u32 b = 0; b < kBatch; b++) {
        const u32 at = first + b * kConsumerThreads;
        if (at >= kAll) continue;
        if constexpr (C::kNorm == 0 && sizeof(X) == 2) {
          reinterpret_cast<Vec4*>(c.work)[at] = v[b];  // bf16 that no norm changes
        } else {
          float x[kPer];
          unpack(v[b], x);
          if (C::kNorm != 0 && at < kLimit) normalize(c, ops, at * kPer, mean, scale, x);
          put(c, at, x);
        }
      }
    }
  }

  MPK_DEVICE static void normalize(const Context& c, const u32* ops, u32 column, float mean,
                                   float scale, float (&x)[kPer]) {
#pragma unroll
    for (u32 j = 0; j < kPer; j += 4) {
      float four[4] = {x[j], x[j + 1], x[j + 2], x[j + 3]};
      Norm<C>::apply(c, ops, column + j, mean, scale, four);
#pragma unroll
      for (u32 i = 0; i < 4; i++) x[j + i] = four[i];
    }
  }
};

// The outputs of a tile group, as finish_group; `first` is what was seen of this thread's first extras.
template <class C>
MPK_DEVICE void finish_group_of_one(Context& c, const u32* ops, const float* partial, u32 tile0,
                                    u32 tiles, const typename C::ExtrasOfOne& first) {
  constexpr u32 kWidth = 16 / C::kGroups;
  const bool aborted = is_aborted(c);  // nothing is handed over by an SM that gave up
  for (u32 base = c.warp * 32; base < tiles * kWidth; base += kConsumerThreads) {
    const u32 e = base + c.lane, r = e % kWidth, tile = e / kWidth;
    const u32 column = (tile0 + tile) * kWidth + r;
    const bool mine = tile < tiles && column < C::kN;
    float y = 0.0f;
    if (mine) {
      typename C::ExtrasOfOne extras = first;
      if (e != c.thread) extras.look(c, ops, column);
      float acc[C::kGroups];
      for (u32 g = 0; g < C::kGroups; g++) {
        const float* p = partial + tile * 16 + g * kWidth + r;
        float sum = 0.0f;
        for (u32 w = 0; w < kConsumerWarps; w++) sum += p[w * kSlot];
        acc[g] = sum;
      }
      extras.await(c, ops, column);
      y = extras.epilogue(acc);
    }
    store_column<C>(c, ops, mine, column, y, aborted);
  }
}

// This warp's chunks of a tile group, as far as one slice of K.
template <class C>
MPK_DEVICE void multiply_slice_of_one(Context& c, const u8* act, float* mine, u32 chunk, u32 tiles,
                                      u32 perTile) {
  const bool active = (c.lane >> 2) == 0;
  const u32 total = tiles * perTile;
  float acc[2][4] = {};
  u32 i = (c.warp + kConsumerWarps - chunk % kConsumerWarps) % kConsumerWarps;
  u32 tile = i / perTile, k = i % perTile;
  while (i < total) {
    wait_full(c, chunk + i);
    multiply_chunk<C>(stage_of(c, chunk + i), act + k * (C::kBlocksPerChunk * 64), active, c.lane,
                      acc);
    release_stage(c, chunk + i);
    i += kConsumerWarps;
    k += kConsumerWarps;
    if (k >= perTile || i >= total) {
      flush_partial(mine + tile * 16, 1, c.lane, acc);
      tile += k / perTile;
      k %= perTile;
    }
  }
}

// A linear layer in a step of one token, all of x in shared memory. From the last product to the next
// layer's first: partial sums, a barrier, one store; there a look, the norm's barrier, a barrier.
template <class C> MPK_DEVICE void run_linear_of_one(Context& c, const u32* in) {
  constexpr u32 kWidth = 16 / C::kGroups;
  // Tile after tile in the stream, whatever the groups: then groups may be as large as they fit.
  constexpr bool kTileOrder = C::kTilesPerGroup == 1 || C::kChunksPerSlice == C::kChunksPerTile;
  constexpr u32 kGroupTiles = kTileOrder ? kSlot / 16 : C::kTilesPerGroup;
  constexpr u32 kSlice = kTileOrder ? C::kChunksPerTile : C::kChunksPerSlice;
  const u32* ops = operands(in);
  const u32 tileLo = in[kWordTileLo], tileHi = in[kWordTileHi];
  //profile: u32 ready = 0;
  if constexpr (C::kXFlagged) {
    PolledRow<C> x = {};
    x.load_gains(c, ops);
    begin_task(c, in);
    x.load(c, ops);
    //profile: ready = x.ready;
  } else {
    begin_task(c, in);
    const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]);
    if (C::kNorm) row_statistics<C>(c, x, 1);
    load_activations<C>(c, ops, x, 1, 0, C::kChunksPerTile * C::kBlocksPerChunk * 32, 0);
  }
  consumer_barrier();
  //profile: const u32 placed = clock_word();
  float* partial = reinterpret_cast<float*>(c.work + kActivationBytes);
  u32 chunk = c.chunk, buffer = 0;
  for (u32 tile0 = tileLo; tile0 < tileHi; tile0 += kGroupTiles) {
    const u32 tiles = tileHi - tile0 < kGroupTiles ? tileHi - tile0 : kGroupTiles;
    typename C::ExtrasOfOne extras = {};
    const u32 column = tile0 * kWidth + c.thread;  // of this thread's first output
    if (c.thread < tiles * kWidth && column < C::kN) extras.look(c, ops, column);
    float* sums = partial + buffer * (kPartialBytes / 4);
    float* mine = sums + c.warp * kSlot;
    for (u32 i = c.lane; i < tiles * 16; i += 32) mine[i] = 0.0f;
    warp_barrier();
    //profile: const u32 asked = clock_word();
    for (u32 slice = 0; slice < C::kChunksPerTile; slice += kSlice) {
      const u32 left = C::kChunksPerTile - slice, perTile = left < kSlice ? left : kSlice;
      const u8* act = c.work + slice * (C::kBlocksPerChunk * 64) + (c.lane & 3u) * 16;
      multiply_slice_of_one<C>(c, act, mine, chunk, tiles, perTile);
      chunk += tiles * perTile;
    }
    consumer_barrier();
    //profile: mark_behind(c, kMarkConsumed, clock_word());
    //profile: if (tile0 == tileLo) {
    //profile:   if (C::kXFlagged) mark_behind(c, kMarkReady, C::kNorm == 0 ? placed : ready);
    //profile:   mark_behind(c, kMarkPlaced, placed);
    //profile:   mark_behind(c, kMarkAsked, asked);
    //profile: }
    finish_group_of_one<C>(c, ops, sums, tile0, tiles, extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    buffer ^= 1;
  }
  c.chunk = chunk;
  end_task(c, in);
}
