// Linear layers in plans whose steps may have many tokens. The stream has K slices of one chunk, each
// for all tiles of a group, so that a slice of x is loaded once for the group. With one token all of
// x is in shared memory and warps take chunks in turn, as in run_linear. With more, warps have the sums
// of their tiles for all tokens in registers, of all K blocks or of every so many, while the next slices
// of x are on their way.

// ---- one token -----------------------------------------------------------------------------------
// Finishes a group's outputs, one a thread, from the warps' sums: [warp][tile][16].
template <class C>
MPK_DEVICE void finish_one_row(Context& c, const u32* ops, const float* sums, u32 tile0, u32 tiles,
                               const typename C::Extras& extras) {
  static_assert(C::kTilesPerGroup * C::kWidth <= kConsumerThreads, "an output a thread");
  const u32 tile = c.thread / C::kWidth, row = c.thread % C::kWidth;
  const u32 column = (tile0 + tile) * C::kWidth + row;
  if (tile >= tiles || column >= C::kN) return;
  float acc[C::kGroups];
  for (u32 g = 0; g < C::kGroups; g++) {
    const float* p = sums + tile * 16 + g * C::kWidth + row;
    acc[g] = 0.0f;
    for (u32 w = 0; w < kConsumerWarps; w++) acc[g] += p[w * tiles * 16];
    if constexpr (C::kScales) acc[g] *= row_scales(c)[0];
  }
  store_one(in_scratch<typename C::Out>(c, ops[C::kOutOperand]) + column, extras.epilogue(acc));
}

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
  typename Either<C::kScales, ProductScales<C>, NoScales>::Type scales = {};
  scales.ask(c, ops, 1);
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
    //profile: if (chunk == c.chunk) mark_aside(c, kMarkAsked);
    multiply_one_row<C>(c, chunk, tiles, slot);
    if (tile0 == in[kWordTileLo]) scales.put(c, ops, 1);
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed);
    finish_one_row<C>(c, ops, partial, tile0, tiles, first);
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

// Joins the second accumulators of a tile.
MPK_DEVICE void join_sums(u32 tokenRows, TokenSums& acc) {
#pragma unroll
  for (u32 second = 1; second <= kTokenSums / 2; second *= 2) {
    if (tokenRows != second * 8) continue;
#pragma unroll
    for (u32 t = 0; t < second; t++) {
#pragma unroll
      for (u32 i = 0; i < 4; i++) acc[t][i] += acc[t + second][i];
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
  static constexpr u32 kBatch = 2;  // octets
  TokenSums acc[kTiles];
  Octet<C> early[kSharedOctets];

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

  // Of octets that this warp will finish for all that share its tile: extras, while weights stream by.
  MPK_DEVICE void load_early(const Context& c, const u32* ops, const Sharing& by, u32 rows, u32 tile0) {
    if (by.kWays == 1 || by.part >= by.kWays) return;
#pragma unroll
    for (u32 j = 0; j < kSharedOctets; j++) {
      early[j].load(c, ops, tile0 + by.tile, by.part + j * by.kWays, rows);
    }
  }

  // All consumer threads, after a barrier; the buffers are free now.
  MPK_DEVICE void finish(Context& c, const u32* ops, const Sharing& by, u32 tokenRows, u32 rows,
                         u32 tile0) {
    if (by.kWays > 1) {
      finish_shared(c, ops, by, tokenRows, rows, tile0);
      return;
    }
#pragma unroll
    for (u32 m = 0; m < kTiles; m++) {
      const u32 tile = by.tile + m * kConsumerWarps;
      if (by.part > 0 || tile >= by.tiles) continue;
      join_sums(tokenRows, acc[m]);
#pragma unroll
      for (u32 t0 = 0; t0 < kTokenRows / 8; t0 += kBatch) {
        if (t0 * 8 >= tokenRows) break;
        // All loads of a batch, then its stores: the compiler cannot know them apart.
        Octet<C> octets[kBatch] = {};
#pragma unroll
        for (u32 t = 0; t < kBatch; t++) octets[t].load(c, ops, tile0 + tile, t0 + t, rows);
#pragma unroll
        for (u32 t = 0; t < kBatch; t++) {
          float total[Octet<C>::kCount][C::kGroups] = {};
          gather(c, acc[m][t0 + t], total);
          octets[t].store(c, ops, tile0 + tile, t0 + t, rows, total);
        }
      }
    }
  }

  // A whole tile's sums of an octet, by output.
  MPK_DEVICE static void gather(Context& c, const float (&acc)[4],
                                float (&total)[Octet<C>::kCount][C::kGroups]) {
    if constexpr (Octet<C>::kOwn) {
#pragma unroll
      for (u32 i = 0; i < 4; i++) total[i % Octet<C>::kCount][i / Octet<C>::kCount] = acc[i];
    } else {
      float* own = reinterpret_cast<float*>(c.work) + c.warp * kOctetSums;
      warp_barrier();  // the octet before has been read
      put_octet(own, c.lane, acc);
      warp_barrier();
      add_warps<C, 1>(own, 0, c.lane, total);
    }
  }

  // Each warp of a tile finishes every so many of its octets. Tiles that warps share are one a warp.
  MPK_DEVICE void finish_shared(Context& c, const u32* ops, const Sharing& by, u32 tokenRows, u32 rows,
                                u32 tile0) {
    const u32 octets = tokenRows / 8, slot = octets * kOctetSums;
    float* sums = reinterpret_cast<float*>(c.work);
    if (!kHoldsEarly) load_early(c, ops, by, rows, tile0);
    join_sums(tokenRows, acc[0]);
#pragma unroll
    for (u32 t = 0; t < kTokenRows / 8; t++) {
      if (t < octets) put_octet(sums + c.warp * slot + t * kOctetSums, c.lane, acc[0][t]);
    }
    consumer_barrier();
    if (by.part >= by.kWays) return;
#pragma unroll
    for (u32 j = 0; j < kSharedOctets; j++) {
      const u32 octet = by.part + j * by.kWays;
      if (octet >= octets) break;
      float total[Octet<C>::kCount][C::kGroups] = {};
      add_octets<C>(sums + by.tile * slot + octet * kOctetSums, by.ways * slot, by.kWays, c.lane, total);
      early[j].store(c, ops, tile0 + by.tile, octet, rows, total);
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
  typename Either<C::kScales, ProductScales<C>, NoScales>::Type scales = {};
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
    for (u32 i = 0; i + 1 < kBuffers; i++) x.bring(c, i, i);
    if (tile0 == in[kWordTileLo]) scales.ask(c, ops, rows);
    Group<C> group = {};
    if (kHoldsEarly) group.load_early(c, ops, by, rows, tile0);
    // Else what the slices' addresses need of the thread is kept from here on, in registers.
    forget(c.lane);
    forget(c.warp);
    u32 before = 0;  // chunks of the slice before
    for (u32 k = 0, slice = 0, buffer = 0; k < C::kChunksPerTile; k += count, slice++) {
      const u32 now = C::kChunksPerTile - k < count ? C::kChunksPerTile - k : count;
      await_copies<kBuffers - 2>();
      consumer_barrier();
      //profile: if (chunk == c.chunk) mark_aside(c, kMarkAsked);
      group.release(c, by, chunk - before, before);
      x.bring(c, slice + kBuffers - 1, buffer == 0 ? kBuffers - 1 : buffer - 1);
      const u32 row = c.lane >> 2, flip = x.swap(row) / 64;
      const u8* at = c.work + buffer * kSliceBytes + row * x.rowBytes + (c.lane & 3u) * 16;
      group.multiply(c, by, SliceView{at, x.rowBytes, flip}, chunk, now);
      before = now * by.tiles;
      chunk += before;
      buffer = buffer == kBuffers - 1 ? 0 : buffer + 1;
    }
    if (tile0 == in[kWordTileLo]) scales.put(c, ops, rows);
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed);
    group.release(c, by, chunk - before, before);
    group.finish(c, ops, by, tokenRows, rows, tile0);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    if (left > C::kTilesPerGroup) consumer_barrier();  // the next slices take the place of sums
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
  if constexpr (FewTiles<C>::kHas) {
    if (c.tokens > 8 && in[kWordTileHi] - in[kWordTileLo] <= FewTiles<C>::kMost) {
      run_few_tiles<C>(c, in);
      return;
    }
  }
  run_many_rows<C>(c, in);
}
