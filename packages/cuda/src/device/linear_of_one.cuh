// Linear layers in steps of one token that polls what it reads, or hands over what it writes, word by
// word; see flags.cuh. A body's constants beyond linear.cuh's: struct ExtrasOfOne {
//   look(c, operands, column); await(c, operands, column); epilogue(acc) }.

// x of one token: from its words straight into registers, as bf16 into shared memory. A norm's scale is
// known last: where a row stays in registers, sums of products are scaled instead of x.
template <class C> struct PolledRow {
  typedef typename C::X X;
  static constexpr u32 kPer = 16 / sizeof(X);  // columns of a vector
  static constexpr u32 kLimit = C::kK / kPer;
  static constexpr u32 kAll = C::kChunksPerTile * C::kBlocksPerChunk * C::kFolds * 32 / kPer;
  static constexpr u32 kMine = (kAll + kConsumerThreads - 1) / kConsumerThreads;
  // A normed row that fits stays in registers, its gains in shared memory; others pass in batches.
  static constexpr u32 kGainBytes = kPer * sizeof(typename C::Gain);  // of a vector
  static constexpr bool kKeeps = C::kNorm == 1 && sizeof(X) == 4 && kMine <= 8 &&
                                 kAll * (kPer * 2 + kGainBytes) <= kActivationBytes;
  static constexpr u32 kBatch =
      kKeeps ? kMine : C::kNorm != 0 ? (kMine < 4 ? kMine : 4) : (kMine < 8 ? kMine : 8);
  const Vec4* row;
  Vec4 v[kBatch];  // the first batch

  // What need not be there yet: the first look, and the gains.
  MPK_DEVICE void look(const Context& c, const u32* ops) {
    row = in_copy<const Vec4>(c, ops[C::kXFlag]);
    look_at_vectors<kBatch>(row, c.thread, kLimit, v);
    if constexpr (kKeeps) {
      const typename C::Gain* from = in_resident<typename C::Gain>(c, ops[C::kGainOperand]);
#pragma unroll
      for (u32 i = 0; i < kMine; i++) {
        const u32 at = c.thread + i * kConsumerThreads;
        if (at < kLimit) copy_async<kGainBytes>(gains_of(c, at), from + at * kPer);
      }
    }
  }
  // Of a vector, behind x.
  MPK_DEVICE static typename C::Gain* gains_of(const Context& c, u32 at) {
    return reinterpret_cast<typename C::Gain*>(c.work + kAll * kPer * 2 + at * kGainBytes);
  }

  // All of x into shared memory. Gives this thread's share of the sum of squares where sums of products
  // are to be scaled.
  MPK_DEVICE float take(Context& c, const u32* ops) {
    if constexpr (kKeeps) {
      return keep(c, ops);
    } else if constexpr (C::kNorm == 0) {
      pass(c, ops, 0.0f, 1.0f, true);
    } else {
      const float mean = C::kNorm == 2 ? average(c, 0.0f, 0) : 0.0f;
      const float scale = m_rsqrt(average(c, mean, 1) + C::kEps);
      //profile: mark_aside(c, kMarkReady);
      pass(c, ops, mean, scale, false);
    }
    return 0.0f;
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

  MPK_DEVICE float keep(Context& c, const u32* ops) {
    await_vectors<kBatch>(c, row, c.thread, C::kXOperand, v);
    await_async_copies();
    float squares = 0.0f, x[kPer];
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 at = c.thread + i * kConsumerThreads;
      if (at >= kAll) continue;
      unpack(v[i], x);
#pragma unroll
      for (u32 j = 0; j < kPer; j++) squares += x[j] * x[j];
      if (at < kLimit) {
        const typename C::Gain* gain = gains_of(c, at);
#pragma unroll
        for (u32 j = 0; j < kPer; j++) x[j] *= in_shared(gain + j);
      }
      put(c, at, x);
    }
    return squares;
  }

  // Of x (slot 0), or of the squares of its distance from the mean (slot 1).
  MPK_DEVICE float average(Context& c, float mean, u32 slot) {
    float sum = 0.0f;
    for (u32 i = 0; i < kMine; i += kBatch) {
      const u32 first = c.thread + i * kConsumerThreads;
      Vec4 batch[kBatch];
      float x[kPer];
      look_at_vectors<kBatch>(row, first, kLimit, batch);
      await_vectors<kBatch>(c, row, first, C::kXOperand, batch);
#pragma unroll
      for (u32 b = 0; b < kBatch; b++) {
        if (first + b * kConsumerThreads >= kLimit) continue;
        unpack(batch[b], x);
#pragma unroll
        for (u32 j = 0; j < kPer; j++) sum += slot == 0 ? x[j] : (x[j] - mean) * (x[j] - mean);
      }
    }
    return group_sum(c, sum, slot) * (1.0f / static_cast<float>(C::kK));
  }

  // Batch by batch; the first one has been looked at if `looked`.
  MPK_DEVICE void pass(const Context& c, const u32* ops, float mean, float scale, bool looked) {
    for (u32 i = 0; i < kMine; i += kBatch) {
      const u32 first = c.thread + i * kConsumerThreads;
      if (i > 0 || !looked) look_at_vectors<kBatch>(row, first, kLimit, v);
      await_vectors<kBatch>(c, row, first, C::kXOperand, v);
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

// A warp's sums of products of one tile, of every fourth product each: shorter chains.
struct SumsOfOne {
  float acc[4][4];

  MPK_DEVICE void clear() {
#pragma unroll
    for (u32 i = 0; i < 4; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0.0f;
  }
  MPK_DEVICE void add(u32 block, Vec4 a0, Vec4 a1, Vec4 b) {
    mma_16x8x16(acc[block % 2 * 2], a0, b.x, b.y);
    mma_16x8x16(acc[block % 2 * 2 + 1], a1, b.z, b.w);
  }
  // A chunk in the ring; `act`: this lane's part of the chunk's columns of x.
  template <class C> MPK_DEVICE void multiply(const u8* stage, const u8* act, bool active) {
    u32 read = 0;  // words of the last loads: a warp's arrive in about their order
#pragma unroll
    for (u32 block = 0; block < C::kBlocksPerChunk; block++) {
      Vec4 b = {0, 0, 0, 0};
      if (active) b = *reinterpret_cast<const Vec4*>(act + block * C::kFolds * 64);
      const Vec4 a0 = load_staged(stage + block * 1024);
      const Vec4 a1 = load_staged(stage + block * 1024 + 512);
      add(block, a0, a1, b);
      if (block + 2 >= C::kBlocksPerChunk) read ^= a0.x ^ a1.x;
    }
    await_loads(read);
  }
  // Adds to the warp's own slot of the tile: 16 floats.
  template <class C> MPK_DEVICE void flush(float* slot, u32 lane) {
    add_rows<C>(slot, lane, acc);
    clear();
  }
};

// The weights of a chunk in a warp's registers.
template <class C> struct Fragments {
  Vec4 a[C::kBlocksPerChunk * 2];

  // Takes a chunk out of the ring; without one, zeros: a branch around so many registers spills them.
  MPK_DEVICE void take(Context& c, u32 chunk, bool is) {
    if (is) wait_full(c, chunk);
    const u8* from = reinterpret_cast<const u8*>(c.shared->zeros);
    if (is) from = stage_of(c, chunk) + c.lane * 16;
    const u32 stride = is ? 512 : 0;
#pragma unroll
    for (u32 i = 0; i < C::kBlocksPerChunk * 2; i++) {
      a[i] = load_staged(from + i * stride);
    }
    if (!is) return;
    u32 word = 0;  // of every load
#pragma unroll
    for (u32 i = 0; i < C::kBlocksPerChunk * 2; i++) word ^= a[i].x;
    await_loads(word);
    release_stage(c, chunk);
  }
  MPK_DEVICE void multiply(const u8* act, bool active, SumsOfOne& sums) const {
#pragma unroll
    for (u32 block = 0; block < C::kBlocksPerChunk; block++) {
      Vec4 b = {0, 0, 0, 0};
      if (active) b = *reinterpret_cast<const Vec4*>(act + block * C::kFolds * 64);
      sums.add(block, a[block * 2], a[block * 2 + 1], b);
    }
  }
};

// The outputs of a tile group, as finish_group; `first` is what was seen of this thread's first extras.
template <class C>
MPK_DEVICE void finish_group_of_one(Context& c, const u32* ops, const float* partial, u32 tile0,
                                    u32 tiles, bool scales, const typename C::ExtrasOfOne& first) {
  constexpr u32 kWidth = C::kWidth;
  //profile: mark_aside(c, kMarkConsumed);
  float scale = 1.0f;
  if (C::kNorm == 1 && scales) {
    float squares = 0.0f;
    for (u32 w = 0; w < kConsumerWarps; w++) squares += c.shared->reduce[w];
    scale = m_rsqrt(squares * (1.0f / static_cast<float>(C::kK)) + C::kEps);
  }
#pragma unroll 1
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
        float sum = 0.0f;
#pragma unroll
        for (u32 fold = 0; fold < C::kFolds; fold++) {
          const float* p = partial + tile * 16 + (fold * C::kGroups + g) * kWidth + r;
          for (u32 w = 0; w < kConsumerWarps; w++) sum += p[w * kSlot];
        }
        acc[g] = sum * scale;
      }
      extras.await(c, ops, column);
      y = extras.epilogue(acc);
    }
    store_column<C>(c, ops, mine, column, y, is_aborted(c));  // nothing by an SM that gave up
  }
}

// How a task's tiles follow each other in the stream.
template <class C> struct TilesOfOne {
  static constexpr u32 kWidth = C::kWidth;
  // Tile after tile, whatever the groups: then groups may be as large as they fit.
  static constexpr bool kTileOrder = !shares_slices<C>();
  static constexpr u32 kGroup = kTileOrder ? kSlot / 16 : C::kTilesPerGroup;
  static constexpr u32 kSlice = kTileOrder ? C::kChunksPerTile : C::kChunksPerSlice;
};

// The first of the chunks from `chunk` on that is this warp's, counted from there.
MPK_DEVICE u32 first_turn(const Context& c, u32 chunk) {
  return (c.warp + kConsumerWarps - chunk % kConsumerWarps) % kConsumerWarps;
}

// This warp's chunks of a tile group, as far as one slice of K.
template <class C> struct SliceOfOne {
  static constexpr u32 kChunkBytes = C::kBlocksPerChunk * C::kFolds * 64;  // of x in shared memory
  u32 chunk, total;  // the slice's first chunk, and how many it has
  u32 perTile;
  u32 i, tile, k;  // the chunk it is at, of the slice; its tile; its place in the tile
  const u8* act;
  float* mine;
  SumsOfOne sums;

  // The slice of a group of tiles from chunk `from` of each tile on.
  MPK_DEVICE void begin(const Context& c, u32 firstChunk, u32 tiles, u32 from) {
    const u32 left = C::kChunksPerTile - from;
    chunk = firstChunk;
    perTile = left < TilesOfOne<C>::kSlice ? left : TilesOfOne<C>::kSlice;
    if (!TilesOfOne<C>::kTileOrder && tiles == 1) perTile = left;  // a tile by itself shares nothing
    total = tiles * perTile;
    i = first_turn(c, chunk);
    tile = i < total ? i / perTile : 0;
    k = i % perTile;
    act = c.work + from * kChunkBytes + own_columns<C>(c.lane);
    sums.clear();
  }
  // The warp's slots of a new group.
  MPK_DEVICE void clear(const Context& c, float* partial, u32 tiles) {
    mine = partial + c.warp * kSlot;
#pragma unroll 1
    for (u32 e = c.lane; e < tiles * 16; e += 32) mine[e] = 0.0f;
    warp_barrier();
  }
  MPK_DEVICE const u8* columns() const { return act + k * kChunkBytes; }
  MPK_DEVICE void next(u32 lane) {
    i += kConsumerWarps;
    k += kConsumerWarps;
    if (k >= perTile || i >= total) {
      sums.template flush<C>(mine + tile * 16, lane);
      tile += k / perTile;
      k %= perTile;
    }
  }
  // The chunks that are still in the ring.
  MPK_DEVICE void multiply(Context& c) {
    const bool active = has_column<C>(c.lane);
#pragma unroll 1
    while (i < total) {
      wait_full(c, chunk + i);
      sums.multiply<C>(stage_of(c, chunk + i) + c.lane * 16, columns(), active);
      release_stage(c, chunk + i);
      next(c.lane);
    }
  }
};

// A linear layer in a step of one token, all of x in shared memory. While x is on its way a warp takes its
// first chunk out of the ring, which makes room for one more. From the last product to the next layer's
// first: partial sums, a barrier, one store; there a look, a barrier.
template <class C, bool kWaits, bool kSignals>
MPK_DEVICE void run_linear_of_one(Context& c, const u32* in) {
  typedef TilesOfOne<C> Tiles;
  const u32* ops = operands(in);
  const u32 tileLo = in[kWordTileLo], tileHi = in[kWordTileHi];
  u32 tiles = tileHi - tileLo < Tiles::kGroup ? tileHi - tileLo : Tiles::kGroup;
  typename C::ExtrasOfOne extras = {};
  const u32 first = tileLo * Tiles::kWidth + c.thread;  // this thread's first output
  const bool finishes = c.thread < tiles * Tiles::kWidth && first < C::kN;
  const u32 turn = first_turn(c, c.chunk);
  const bool holds = turn < tiles * Tiles::kSlice;
  Fragments<C> held;
  float squares = 0.0f;
  bool scales = false;
  if constexpr (C::kXFlagged) {
    PolledRow<C> x = {};
    if (kWaits && awaits_events(c, in)) begin_task(c, in);
    x.look(c, ops);
    if (finishes) extras.look(c, ops, first);
    held.take(c, c.chunk + turn, holds);
    squares = x.take(c, ops);
    scales = PolledRow<C>::kKeeps;
  } else {
    held.take(c, c.chunk + turn, holds);
    begin_task(c, in);
    if (finishes) extras.look(c, ops, first);
    const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]);
    if (C::kNorm) row_statistics<C>(c, x);
    load_activations<C>(c, ops, x, 0, C::kChunksPerTile * C::kBlocksPerChunk * C::kFolds * 32);
  }
  consumer_barrier();
  //profile: mark_placed(c, C::kXFlagged && (PolledRow<C>::kKeeps || C::kNorm == 0));
  float* partial = reinterpret_cast<float*>(c.work + kActivationBytes);
  SliceOfOne<C> slice;
  slice.begin(c, c.chunk, tiles, 0);
  slice.clear(c, partial, tiles);
  //profile: mark_aside(c, kMarkAsked);
  held.multiply(slice.columns(), has_column<C>(c.lane), slice.sums);
  slice.next(c.lane);
  if (scales) {
    squares = warp_sum(squares);
    if (c.lane == 0) c.shared->reduce[c.warp] = squares;
  }
  u32 buffer = 0;
  for (u32 tile0 = tileLo;;) {
    slice.multiply(c);
    const u32 behind = Tiles::kTileOrder ? Tiles::kSlice : slice.perTile;
    for (u32 from = behind; from < C::kChunksPerTile; from += Tiles::kSlice) {
      slice.begin(c, slice.chunk + slice.total, tiles, from);
      slice.multiply(c);
    }
    consumer_barrier();
    finish_group_of_one<C>(c, ops, partial + buffer * (kPartialBytes / 4), tile0, tiles, scales,
                           extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    tile0 += Tiles::kGroup;
    if (tile0 >= tileHi) break;
    tiles = tileHi - tile0 < Tiles::kGroup ? tileHi - tile0 : Tiles::kGroup;
    const u32 column = tile0 * Tiles::kWidth + c.thread;
    if (c.thread < tiles * Tiles::kWidth && column < C::kN) extras.look(c, ops, column);
    buffer ^= 1;
    slice.begin(c, slice.chunk + slice.total, tiles, 0);
    slice.clear(c, partial + buffer * (kPartialBytes / 4), tiles);
  }
  c.chunk = slice.chunk + slice.total;
  if constexpr (C::kOutFlagged) {
    if (kSignals) leave_task(c, in);
  } else {
    end_task(c, in);
  }
}
