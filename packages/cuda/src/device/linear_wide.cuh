// Linear layers in plans whose steps may have many tokens. The stream has K slices of one chunk, each
// for all tiles of a group, so that a slice of x is loaded once for the group. With one token all of
// x is in shared memory and warps take chunks in turn, as in run_linear. With more, warps have the sums
// of their tiles for all tokens in registers, of all K blocks or of every so many, while the next slices
// of x are on their way.

// ---- the end of a tile group -------------------------------------------------------------------
// Partial sums in shared memory: `slots` for each output, one `slot` floats behind the other.
struct PartialSums {
  const float* at;  // [tile][token][16]
  u32 tile, slot, slots;

  MPK_DEVICE float sum(u32 t, u32 token, u32 row) const {
    const float* p = at + t * tile + token * 16 + row;
    float total = 0.0f;
    for (u32 i = 0; i < slots; i++) total += p[i * slot];
    return total;
  }
};

// Finishes every output of `tiles` tiles. `first` are the extras of this thread's first output.
template <class C>
MPK_DEVICE void finish_tiles(Context& c, const u32* ops, const PartialSums& sums, u32 tile0,
                             u32 tiles, u32 rows, const typename C::Extras& first) {
  constexpr u32 kWidth = C::kWidth, kBatch = 4;
  typename C::Out* out = in_scratch<typename C::Out>(c, ops[C::kOutOperand]);
  const u32 count = tiles * rows * kWidth;
  for (u32 base = c.thread; base < count; base += kBatch * kConsumerThreads) {
    // All loads of a batch, then its stores: the compiler cannot know them apart.
    typename C::Extras extras[kBatch] = {};
    extras[0] = first;
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 e = base + i * kConsumerThreads;
      const u32 column = (tile0 + e / (kWidth * rows)) * kWidth + e % kWidth;
      if (e == c.thread || e >= count || column >= C::kN) continue;
      extras[i].load(c, ops, e / kWidth % rows, column);
    }
#pragma unroll
    for (u32 i = 0; i < kBatch; i++) {
      const u32 e = base + i * kConsumerThreads, tile = e / (kWidth * rows);
      const u32 token = e / kWidth % rows, r = e % kWidth;
      const u32 column = (tile0 + tile) * kWidth + r;
      if (e >= count || column >= C::kN) continue;
      float acc[C::kGroups];
      for (u32 g = 0; g < C::kGroups; g++) acc[g] = sums.sum(tile, token, g * kWidth + r);
      if constexpr (C::kScales) {
        for (u32 g = 0; g < C::kGroups; g++) acc[g] *= row_scales(c)[token * 2];
      }
      store_one(out + static_cast<u64>(token) * C::kOutStride + column, extras[i].epilogue(acc));
    }
  }
}

// ---- one token -----------------------------------------------------------------------------------
// A group's chunks in turn, each warp's sums added to its own slot, [tile][16].
template <class C>
MPK_DEVICE void multiply_one_row(Context& c, u32 chunk, u32 tiles, float* slot) {
  const u8* act = c.work + (c.lane & 3u) * 16;
  const u32 total = tiles * C::kChunksPerTile;
  u32 i = (c.warp + kConsumerWarps - chunk % kConsumerWarps) % kConsumerWarps;
  u32 tile = i % tiles, k = i / tiles;
  const u32 tileStep = kConsumerWarps % tiles, kStep = kConsumerWarps / tiles;
  float acc[2][4] = {};
  while (i < total) {
    wait_full(c, chunk + i);
    multiply_chunk<C>(stage_of(c, chunk + i), act + k * (C::kBlocksPerChunk * 64), c.lane < 4,
                      c.lane, acc);
    release_stage(c, chunk + i);
    i += kConsumerWarps;
    if (tileStep != 0 || i >= total) flush_partial<C>(slot + tile * 16, c.lane, acc);
    tile += tileStep;
    k += kStep;
    if (tile >= tiles) {
      tile -= tiles;
      k++;
    }
  }
}

template <class C> MPK_DEVICE void run_one_row(Context& c, const u32* in) {
  constexpr u32 kWhole = C::kChunksPerTile * C::kBlocksPerChunk * 64;
  const u32* ops = operands(in);
  const u32 tileHi = in[kWordTileHi];
  OneRow<C> one = {};
  if (OneRow<C>::kFits) one.load_gains(c, ops);
  begin_task(c, in);
  const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]);
  if constexpr (C::kScales) scale_products<C>(c, ops, 1);
  if constexpr (OneRow<C>::kFits) {
    one.load(c, x);
  } else {
    if (C::kNorm) row_statistics<C>(c, x);
    load_activations<C>(c, ops, x, 0, kWhole / 2);
  }
  float* partial = reinterpret_cast<float*>(c.work + kWhole);
  u32 chunk = c.chunk;
  for (u32 tile0 = in[kWordTileLo]; tile0 < tileHi; tile0 += C::kTilesPerGroup) {
    const u32 left = tileHi - tile0, tiles = left < C::kTilesPerGroup ? left : C::kTilesPerGroup;
    typename C::Extras first = {};
    load_first_extras<C>(c, ops, tile0, tiles, 1, first);
    float* slot = partial + c.warp * tiles * 16;
    consumer_barrier();  // x is there; slots of the group before have been read
    for (u32 i = c.lane; i < tiles * 16; i += 32) slot[i] = 0.0f;
    warp_barrier();
    //profile: if (chunk == c.chunk) mark_aside(c, kMarkAsked, clock_word());
    multiply_one_row<C>(c, chunk, tiles, slot);
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed, clock_word());
    finish_tiles<C>(c, ops, PartialSums{partial, 16, tiles * 16, kConsumerWarps}, tile0, tiles, 1,
                    first);
    chunk += tiles * C::kChunksPerTile;
  }
  c.chunk = chunk;
  end_task(c, in);
}

// ---- many tokens --------------------------------------------------------------------------------
// Sums of one tile for all tokens: those of mma, eight tokens an entry.
typedef float TokenSums[kTokenSums][4];

// Where a lane reads a slice: its row of the first eight, and that row's pair swap in blocks.
struct SliceView {
  const u8* row;
  u32 rowBytes, flip;
};

// K blocks [from, to) of kTiles chunks of weights, block 0 the slice's `first`, times kCount times eight
// tokens.
template <class C, u32 kCount, u32 kTiles>
MPK_DEVICE void multiply_blocks(const u8* const (&stages)[kTiles], const SliceView& slice, u32 first,
                                u32 from, u32 to, u32 lane, TokenSums* acc) {
  constexpr u32 kSecond = 2 * kCount <= kTokenSums ? kCount : 0;
  constexpr u32 kHeld = kCount < 4 ? kCount : 4;  // loads of x at once
  u32 read = 0;  // a word of every load from the stages, which the caller may free
#pragma unroll(kCount > 2 ? 1 : 2)
  for (u32 b = from; b < to; b++) {
    Vec4 a[kTiles][2];
#pragma unroll
    for (u32 m = 0; m < kTiles; m++) {
      a[m][0] = load_staged(stages[m] + b * 1024 + lane * 16);
      a[m][1] = load_staged(stages[m] + b * 1024 + 512 + lane * 16);
      read ^= a[m][0].x ^ a[m][1].x;
    }
    const u8* x = slice.row + ((first + b) ^ slice.flip) * 64;
#pragma unroll
    for (u32 t0 = 0; t0 < kCount; t0 += kHeld) {
      Vec4 v[kHeld];
#pragma unroll
      for (u32 t = 0; t < kHeld; t++) {
        v[t] = *reinterpret_cast<const Vec4*>(x + (t0 + t) * 8 * slice.rowBytes);
      }
      // A sum's two products lie as far apart as they can.
#pragma unroll
      for (u32 m = 0; m < kTiles; m++) {
#pragma unroll
        for (u32 t = 0; t < kHeld; t++) mma_16x8x16(acc[m][t0 + t], a[m][0], v[t].x, v[t].y);
      }
#pragma unroll
      for (u32 m = 0; m < kTiles; m++) {
#pragma unroll
        for (u32 t = 0; t < kHeld; t++) {
          mma_16x8x16(acc[m][t0 + t + kSecond], a[m][1], v[t].z, v[t].w);
        }
      }
    }
  }
  await_loads(read);
}

// The same for as many tokens as the step has.
template <class C, u32 kTiles>
MPK_DEVICE void multiply_tokens(const Context& c, const u8* const (&stages)[kTiles],
                                const SliceView& slice, u32 first, u32 from, u32 to, TokenSums* acc) {
  const u32 tokenRows = token_rows(c.tokens);
  if (tokenRows == 8) {
    multiply_blocks<C, 1>(stages, slice, first, from, to, c.lane, acc);
  } else if (tokenRows == 16) {
    multiply_blocks<C, 2>(stages, slice, first, from, to, c.lane, acc);
  } else if constexpr (kTokenRows == 32) {
    multiply_blocks<C, 4>(stages, slice, first, from, to, c.lane, acc);
  } else if constexpr (kTokenRows == 64) {
    if (tokenRows == 32) {
      multiply_blocks<C, 4>(stages, slice, first, from, to, c.lane, acc);
    } else {
      multiply_blocks<C, 8>(stages, slice, first, from, to, c.lane, acc);
    }
  }
}

// Joins the second accumulators, then writes a tile's sums to [token][16] floats.
MPK_DEVICE void store_sums(float* to, u32 tokenRows, u32 rows, u32 lane, TokenSums& acc) {
#pragma unroll
  for (u32 t = 0; t < kTokenSums; t++) {
#pragma unroll
    for (u32 second = 1; second <= kTokenSums / 2; second *= 2) {
      if (t < second && tokenRows == second * 8) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) acc[t][i] += acc[t + second][i];
      }
    }
    const u32 token = t * 8 + (lane & 3u) * 2, row = lane >> 2;
    if (t * 8 >= tokenRows) continue;
    if (token < rows) {
      to[token * 16 + row] = acc[t][0];
      to[token * 16 + row + 8] = acc[t][2];
    }
    if (token + 1 < rows) {
      to[(token + 1) * 16 + row] = acc[t][1];
      to[(token + 1) * 16 + row + 8] = acc[t][3];
    }
  }
}

// How the warps share a group: warp w has tile w mod ways (and that plus kConsumerWarps), and of each
// chunk of it the K blocks of its part, w / ways, of kWays parts.
struct Sharing {
  u32 tiles, ways, kWays, tile, part;
  MPK_DEVICE void start(const Context& c, u32 count) {
    tiles = count;
    ways = count < kConsumerWarps ? count : kConsumerWarps;
    kWays = kConsumerWarps / ways;
    tile = c.warp % ways;
    part = c.warp / ways;  // a warp left over has none: see kWays
  }
};

template <class C> struct Group {
  static constexpr u32 kTiles = (C::kTilesPerGroup + kConsumerWarps - 1) / kConsumerWarps;
  TokenSums acc[kTiles];

  MPK_DEVICE void clear() {
    for (u32 m = 0; m < kTiles; m++) {
      for (u32 t = 0; t < kTokenSums; t++) {
        for (u32 i = 0; i < 4; i++) acc[m][t][i] = 0.0f;
      }
    }
  }

  // A slice of `count` chunks a tile, from chunk number `chunk` of the ring on. Who has a chunk to himself
  // frees it; chunks of several warps are freed by `release`.
  MPK_DEVICE void multiply(Context& c, const Sharing& by, const SliceView& slice, u32 chunk, u32 count) {
    if (by.part >= by.kWays) return;
    const u32 share = (C::kBlocksPerChunk + by.kWays - 1) / by.kWays, from = by.part * share;
    const u32 to = from + share < C::kBlocksPerChunk ? from + share : C::kBlocksPerChunk;
#pragma unroll 1
    for (u32 k = 0; k < count; k++) {
      const u32 at = chunk + k * by.tiles + by.tile, first = k * C::kBlocksPerChunk;
      wait_full(c, at);
      if (kTiles == 2 && by.tile + kConsumerWarps < by.tiles) {
        wait_full(c, at + kConsumerWarps);
        const u8* const stages[2] = {stage_of(c, at), stage_of(c, at + kConsumerWarps)};
        if constexpr (kTiles == 2) multiply_tokens<C, 2>(c, stages, slice, first, from, to, acc);
        release_stage(c, at);
        release_stage(c, at + kConsumerWarps);
      } else {
        const u8* const stages[1] = {stage_of(c, at)};
        multiply_tokens<C, 1>(c, stages, slice, first, from, to, acc);
        if (by.kWays == 1) release_stage(c, at);
      }
    }
  }

  // Behind a barrier: nobody reads these chunks any more.
  MPK_DEVICE static void release(Context& c, const Sharing& by, u32 chunk, u32 chunks) {
    if (by.kWays == 1) return;
    for (u32 i = c.warp; i < chunks; i += kConsumerWarps) release_stage(c, chunk + i);
  }

  // All consumer threads, after a barrier; the buffers are free now.
  MPK_DEVICE void finish(Context& c, const u32* ops, const Sharing& by, u32 tokenRows, u32 rows,
                         u32 tile0) {
    float* sums = reinterpret_cast<float*>(c.work);
#pragma unroll
    for (u32 m = 0; m < kTiles; m++) {
      const u32 done = m * kConsumerWarps;
      if (done >= by.tiles) continue;
      const u32 tiles = by.tiles - done < by.ways ? by.tiles - done : by.ways;
      typename C::Extras first = {};
      load_first_extras<C>(c, ops, tile0 + done, tiles, rows, first);
      if (m > 0) consumer_barrier();  // the sums before have been read
      store_sums(sums + c.warp * rows * 16, tokenRows, rows, c.lane, acc[m]);
      consumer_barrier();
      finish_tiles<C>(c, ops, PartialSums{sums, rows * 16, by.ways * rows * 16, by.kWays},
                      tile0 + done, tiles, rows, first);
    }
  }
};

template <class C> MPK_DEVICE void run_many_rows(Context& c, const u32* in) {
  constexpr u32 kChunkColumns = C::kBlocksPerChunk * 32;
  const u32* ops = operands(in);
  const u32 tileHi = in[kWordTileHi], rows = c.tokens, tokenRows = token_rows(rows);
  begin_task(c, in);
  Slices<C> x = {};
  x.ops = ops;
  if (C::kNorm) scale_rows<C>(c, in_scratch<typename C::X>(c, ops[C::kXOperand]), rows);
  u32 chunk = c.chunk;
  for (u32 tile0 = in[kWordTileLo]; tile0 < tileHi; tile0 += C::kTilesPerGroup) {
    const u32 left = tileHi - tile0;
    Sharing by;
    by.start(c, left < C::kTilesPerGroup ? left : C::kTilesPerGroup);
    // Chunks of a tile in a slice: what a buffer holds, and half of the ring.
    u32 count = kSliceBytes / (tokenRows * kChunkColumns * 2);
    const u32 most = kStages / 2 / by.tiles < 1 ? 1 : kStages / 2 / by.tiles;
    if (count > most) count = most;
    if (count > C::kChunksPerTile) count = C::kChunksPerTile;
    x.open(count * kChunkColumns);
    x.bring(c, 0, 0);
    x.bring(c, 1, 1);
    if constexpr (C::kScales) {
      if (tile0 == in[kWordTileLo]) scale_products<C>(c, ops, rows);
    }
    Group<C> group;
    group.clear();
    // Else what the slices' addresses need of the thread is kept from here on, in registers.
    forget(c.lane);
    forget(c.warp);
    u32 before = 0;  // chunks of the slice before
    for (u32 k = 0, slice = 0, buffer = 0; k < C::kChunksPerTile; k += count, slice++) {
      const u32 now = C::kChunksPerTile - k < count ? C::kChunksPerTile - k : count;
      await_copies<1>();
      consumer_barrier();
      //profile: if (chunk == c.chunk) mark_aside(c, kMarkAsked, clock_word());
      group.release(c, by, chunk - before, before);
      x.bring(c, slice + 2, buffer == 0 ? 2 : buffer - 1);
      const u32 row = c.lane >> 2, flip = x.swap(row) / 64;
      const u8* at = c.work + buffer * kSliceBytes + row * x.rowBytes + (c.lane & 3u) * 16;
      group.multiply(c, by, SliceView{at, x.rowBytes, flip}, chunk, now);
      before = now * by.tiles;
      chunk += before;
      buffer = buffer == kBuffers - 1 ? 0 : buffer + 1;
    }
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed, clock_word());
    group.release(c, by, chunk - before, before);
    group.finish(c, ops, by, tokenRows, rows, tile0);
    consumer_barrier();
  }
  c.chunk = chunk;
  end_task(c, in);
}

template <class C> MPK_DEVICE void run_linear_wide(Context& c, const u32* in) {
  constexpr u32 kWhole = C::kChunksPerTile * C::kBlocksPerChunk * 64;
  // The plan makes groups that fit beside one token's x, if anything does.
  constexpr bool kOneRow = kWhole + C::kTilesPerGroup * kConsumerWarps * 64 <= kWorkBytes - kScaleBytes;
  if constexpr (kOneRow) {
    if (c.tokens == 1) {
      run_one_row<C>(c, in);
      return;
    }
  }
  run_many_rows<C>(c, in);
}
