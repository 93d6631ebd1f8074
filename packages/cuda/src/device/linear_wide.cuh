// Linear layers in plans whose steps may have many tokens. The stream has K slices of one chunk, each
// for all tiles of a group, so that a slice of x is loaded once for the group. With one token all of
// x is in shared memory and warps take chunks in turn, as in run_linear. With more, each warp takes
// the chunks of its own tiles and has their sums for all tokens in registers, while the next slice of
// x is on its way to the other half of shared memory.

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
  constexpr u32 kWidth = 16 / C::kGroups, kBatch = 4;
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
    if (tileStep != 0 || i >= total) flush_partial(slot + tile * 16, c.lane, acc);
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
    //profile: if (chunk == c.chunk) mark_behind(c, kMarkAsked, clock_word());
    multiply_one_row<C>(c, chunk, tiles, slot);
    consumer_barrier();
    //profile: mark_behind(c, kMarkConsumed, clock_word());
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

// A chunk is multiplied in parts: between two of them the next slice takes a step. For 64 tokens a
// slice is one chunk and has four batches to bring.
constexpr u32 kParts = kTokenRows == 64 ? 4 : 2;
template <class C>
constexpr u32 kPartBlocks = (C::kBlocksPerChunk + kParts - 1) / kParts;

// Where a lane reads a slice: offset of its row of the first eight, and that row's pair swap.
struct SliceView {
  u32 at, rowBytes, flip;
};

// K blocks of one chunk from `from` on, a part of them, for kCount times eight tokens; `block` is the
// chunk's first in the slice.
template <class C, u32 kCount>
MPK_DEVICE void multiply_tokens(const Context& c, const u8* stage, const SliceView& slice,
                                u32 block, u32 from, TokenSums& acc) {
  constexpr u32 kSecond = 2 * kCount <= kTokenSums ? kCount : 0;
  constexpr u32 kAtOnce = kCount > 2 ? 1 : 4;  // more loads ahead would not fit the registers
  u32 read = 0;  // a word of every load from the stage, which the caller frees
#pragma unroll kAtOnce
  for (u32 i = 0; i < kPartBlocks<C>; i++) {
    const u32 b = from + i;
    if (C::kBlocksPerChunk % kPartBlocks<C> != 0 && b >= C::kBlocksPerChunk) break;
    const Vec4 a0 = load_staged(stage + b * 1024 + c.lane * 16);
    const Vec4 a1 = load_staged(stage + b * 1024 + 512 + c.lane * 16);
    const u8* x = c.work + slice.at + ((block + b) ^ slice.flip) * 64;
#pragma unroll
    for (u32 t = 0; t < kCount; t++) {
      const Vec4 v = *reinterpret_cast<const Vec4*>(x + t * 8 * slice.rowBytes);
      mma_16x8x16(acc[t], a0, v.x, v.y);
      mma_16x8x16(acc[t + kSecond], a1, v.z, v.w);
    }
    read ^= a0.x ^ a1.x;
  }
  await_loads(read);
}

// The same for as many tokens as the step has.
template <class C>
MPK_DEVICE void multiply_part(const Context& c, const u8* stage, const SliceView& slice, u32 block,
                              u32 from, TokenSums& acc) {
  const u32 tokenRows = token_rows(c.tokens);
  if (tokenRows == 8) {
    multiply_tokens<C, 1>(c, stage, slice, block, from, acc);
  } else if (tokenRows == 16) {
    multiply_tokens<C, 2>(c, stage, slice, block, from, acc);
  } else if constexpr (kTokenRows == 32) {
    multiply_tokens<C, 4>(c, stage, slice, block, from, acc);
  } else if constexpr (kTokenRows == 64) {
    if (tokenRows == 32) {
      multiply_tokens<C, 4>(c, stage, slice, block, from, acc);
    } else {
      multiply_tokens<C, 8>(c, stage, slice, block, from, acc);
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

// How the warps share a group: warp w has tile w mod ways (and that plus kConsumerWarps), and of
// each slice every kWays-th chunk from w / ways on. Each chunk has one warp. Not the warp that
// run_linear gives it: but between two uses of a stage lies a barrier, since a slice has no more
// chunks than the ring, so no warp can take an old phase for the new.
struct Sharing {
  u32 tiles, ways, kWays, tile, first;
  MPK_DEVICE void start(const Context& c, u32 count) {
    tiles = count;
    ways = count < kConsumerWarps ? count : kConsumerWarps;
    kWays = kConsumerWarps / ways;
    tile = c.warp % ways;
    first = c.warp / ways;  // a warp left over has none: see kWays
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

  // The slice in shared memory, of `count` chunks a tile from chunk number `chunk` of the ring on,
  // while `stager` brings the next.
  MPK_DEVICE void multiply(Context& c, const Sharing& by, Stager<C>& stager, const SliceView& slice,
                           u32 chunk, u32 count) {
    for (u32 k = by.first; by.first < by.kWays && k < count; k += by.kWays) {
#pragma unroll
      for (u32 m = 0; m < kTiles; m++) {
        const u32 tile = by.tile + m * kConsumerWarps;
        if (tile >= by.tiles) continue;
        const u32 at = chunk + k * by.tiles + tile;
        wait_full(c, at);
#pragma unroll 1
        for (u32 from = 0; from < C::kBlocksPerChunk; from += kPartBlocks<C>) {
          multiply_part<C>(c, stage_of(c, at), slice, k * C::kBlocksPerChunk, from, acc[m]);
          stager.step(c);
        }
        release_stage(c, at);
      }
    }
    while (!stager.done(c)) stager.step(c);
  }

  // All consumer threads, after a barrier; the halves for slices are free now.
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
  Stager<C> stager = {};
  stager.ops = ops;
  if (C::kNorm) scale_rows<C>(c, in_scratch<typename C::X>(c, ops[C::kXOperand]), rows);
  u32 chunk = c.chunk;
  for (u32 tile0 = in[kWordTileLo]; tile0 < tileHi; tile0 += C::kTilesPerGroup) {
    const u32 left = tileHi - tile0;
    Sharing by;
    by.start(c, left < C::kTilesPerGroup ? left : C::kTilesPerGroup);
    // Chunks of a tile in a slice: what half of the room holds, and half of the ring.
    u32 count = kSliceBytes / (tokenRows * kChunkColumns * 2);
    const u32 most = kStages / 2 / by.tiles < 1 ? 1 : kStages / 2 / by.tiles;
    if (count > most) count = most;
    if (count > C::kChunksPerTile) count = C::kChunksPerTile;
    stager.rowBytes = count * kChunkColumns * 2;
    const u32 flip = stager.rowBytes & 64u ? 0 : c.lane >> 2 & 1u;
    Group<C> group;
    group.clear();
    stager.open(c, 0, 0, count * kChunkColumns);
    while (!stager.done(c)) stager.step(c);
    consumer_barrier();
    //profile: if (chunk == c.chunk) mark_behind(c, kMarkAsked, clock_word());
    // Else what the slices' addresses need of the thread is kept from here on, in registers.
    forget(c.lane);
    forget(c.warp);
    for (u32 k = 0, half = 0; k < C::kChunksPerTile; k += count, half ^= 1) {
      const u32 now = C::kChunksPerTile - k < count ? C::kChunksPerTile - k : count;
      const u32 after = C::kChunksPerTile - k - now < count ? C::kChunksPerTile - k - now : count;
      stager.open(c, (half ^ 1) * kSliceBytes, (k + now) * kChunkColumns,
                  after * kChunkColumns);
      const u32 at = half * kSliceBytes + (c.lane >> 2) * stager.rowBytes + (c.lane & 3u) * 16;
      group.multiply(c, by, stager, SliceView{at, stager.rowBytes, flip}, chunk, now);
      chunk += now * by.tiles;
      consumer_barrier();
    }
    //profile: mark_behind(c, kMarkConsumed, clock_word());
    group.finish(c, ops, by, tokenRows, rows, tile0);
    consumer_barrier();
  }
  c.chunk = chunk;
  end_task(c, in);
}

template <class C> MPK_DEVICE void run_linear_wide(Context& c, const u32* in) {
  constexpr u32 kWhole = C::kChunksPerTile * C::kBlocksPerChunk * 64;
  // The plan makes groups that fit beside one token's x, if anything does.
  constexpr bool kOneRow = kWhole + C::kTilesPerGroup * kConsumerWarps * 64 <= kWorkBytes;
  if constexpr (kOneRow) {
    if (c.tokens == 1) {
      run_one_row<C>(c, in);
      return;
    }
  }
  run_many_rows<C>(c, in);
}
