// Linear layers: out = epilogue(round(norm(x)) * W^T, extras). Weights come through the ring as
// fragments of mma's A operand; up to eight tokens are its columns.

// A linear's constants, made by the emitter:
//   kK, kN, kGroups, kFolds, kWidth (output columns of a tile), kBlocksPerChunk, kChunksPerTile,
//   kChunksPerSlice, kTilesPerGroup
//   kNorm (0 none, 1 rms, 2 layer), kEps, kLastRow, kXStride, kOutStride, typename X, typename Out,
//   struct Extras { load(c, operands, row, column); epilogue(acc) }.

// Floats of partial sums that one warp has in one of the two buffers: [tile][token][16].
constexpr u32 kSlot = kPartialBytes / 4 / kConsumerWarps;

MPK_DEVICE float warp_sum(float v) {
  for (int mask = 16; mask > 0; mask >>= 1) v += shuffle_xor(v, mask);
  return v;
}
MPK_DEVICE float warp_max(float v) {
  for (int mask = 16; mask > 0; mask >>= 1) v = m_max(v, shuffle_xor(v, mask));
  return v;
}

// Four gains as they lie in memory: registers are dear while a task waits.
struct Gains {
  Vec4 words;

  MPK_DEVICE void load(const u16* p) {
    const Vec2 r = load_const_vec2(p);
    words.x = r.x;
    words.y = r.y;
  }
  MPK_DEVICE void load(const float* p) { words = load_const_vec4(p); }
  MPK_DEVICE void get(const u16*, float (&g)[4]) const {
    g[0] = bf16_low(words.x); g[1] = bf16_high(words.x);
    g[2] = bf16_low(words.y); g[3] = bf16_high(words.y);
  }
  MPK_DEVICE void get(const float*, float (&g)[4]) const {
    g[0] = bits_to_f32(words.x); g[1] = bits_to_f32(words.y);
    g[2] = bits_to_f32(words.z); g[3] = bits_to_f32(words.w);
  }
};

// Four from column k on, zero beyond kK; vector loads where every row allows them.
template <class C, class X> MPK_DEVICE void load_clipped(const X* row, u32 k, float (&v)[4]) {
  if (C::kVectorX && k + 4 <= C::kK) {
    load_four(row + k, v);
  } else {
    for (u32 i = 0; i < 4; i++) v[i] = k + i < C::kK ? load_one(row + k + i) : 0.0f;
  }
}

// Sum and sum of squares (about `mean`) of one row, by one warp or by all consumer threads.
template <class C> struct Norm {
  // Gain (and bias) applied to four columns.
  MPK_DEVICE static void apply(const Context& c, const u32* ops, u32 k, float mean, float scale,
                               float (&v)[4]) {
    const typename C::Gain* gain = in_resident<typename C::Gain>(c, ops[C::kGainOperand]);
    const typename C::Gain* bias = in_resident<typename C::Gain>(c, ops[C::kNormBiasOperand]);
    for (u32 i = 0; i < 4; i++) {
      if (k + i >= C::kK) continue;
      float y = (v[i] - mean) * scale * load_resident(gain + k + i);
      v[i] = C::kNorm == 2 ? y + load_resident(bias + k + i) : y;
    }
  }
};

// All consumer threads: the sum of one float each, the same result everywhere. Two sums in a row
// take different slots; a barrier must come before a slot is used again.
MPK_DEVICE float group_sum(Context& c, float v, u32 slot) {
  float* sums = c.shared->reduce + slot * kConsumerWarps;
  v = warp_sum(v);
  if (c.lane == 0) sums[c.warp] = v;
  consumer_barrier();
  float sum = 0.0f;
  for (u32 i = 0; i < kConsumerWarps; i++) sum += sums[i];
  return sum;
}

// All consumer threads: scale and mean of one row to shared->scale, 0 and 8.
template <class C, class X> MPK_DEVICE void row_statistics(Context& c, const X* x) {
  constexpr float kInverse = 1.0f / static_cast<float>(C::kK);
  constexpr u32 kStep = 4 * kConsumerThreads;
  float mean = 0.0f, v[4];
  if (C::kNorm == 2) {
    float sum = 0.0f;
    for (u32 k = c.thread * 4; k < C::kK; k += kStep) {
      load_clipped<C>(x, k, v);
      sum += (v[0] + v[1]) + (v[2] + v[3]);
    }
    mean = group_sum(c, sum, 0) * kInverse;
  }
  float squares = 0.0f;
  for (u32 k = c.thread * 4; k < C::kK; k += kStep) {
    load_clipped<C>(x, k, v);
    for (u32 i = 0; i < 4; i++) {
      float d = k + i < C::kK ? v[i] - mean : 0.0f;
      squares += d * d;
    }
  }
  squares = group_sum(c, squares, 1) * kInverse;
  if (c.thread == 0) {
    c.shared->scale[0] = m_rsqrt(squares + C::kEps);
    c.shared->scale[8] = mean;
  }
  consumer_barrier();
}

// Columns [k0, k0 + columns) of one row to shared memory as bf16, normed, zero beyond kK.
template <class C, class X>
MPK_DEVICE void load_activations(Context& c, const u32* ops, const X* x, u32 k0, u32 columns) {
  const float scale = C::kNorm ? c.shared->scale[0] : 1.0f;
  const float mean = C::kNorm == 2 ? c.shared->scale[8] : 0.0f;
  for (u32 quad = c.thread; quad < columns / 4; quad += kConsumerThreads) {
    const u32 k = k0 + quad * 4;
    float v[4];
    load_clipped<C>(x, k, v);
    if (C::kNorm) Norm<C>::apply(c, ops, k, mean, scale, v);
    *reinterpret_cast<Vec2*>(c.work + quad * 8) =
        Vec2{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
  }
}

// One token, everything at once: each thread keeps its columns in registers from the first load to
// the normed bf16, so that x is read once and the gains are there before x is.
template <class C> struct OneRow {
  static constexpr u32 kAllQuads = C::kChunksPerTile * C::kBlocksPerChunk * C::kFolds * 8;
  static constexpr u32 kQuads = (kAllQuads + kConsumerThreads - 1) / kConsumerThreads;
  // More would not fit beside the gains that wait in registers.
  static constexpr bool kFits = C::kVectorX && C::kNorm != 2 && kQuads <= (C::kNorm == 0 ? 16 : 5);
  Gains gains[C::kNorm == 1 ? kQuads : 1];

  MPK_DEVICE void load_gains(const Context& c, const u32* ops) {
    if (C::kNorm != 1) return;
    const typename C::Gain* from = in_resident<typename C::Gain>(c, ops[C::kGainOperand]);
#pragma unroll
    for (u32 i = 0; i < (C::kNorm == 1 ? kQuads : 1); i++) {
      const u32 k = (c.thread + i * kConsumerThreads) * 4;
      if (k < C::kK) gains[i].load(from + k);
    }
  }

  // bf16 that no norm changes goes over as it is.
  MPK_DEVICE void copy(const Context& c, const u16* x) {
    Vec2 v[kQuads];
#pragma unroll
    for (u32 i = 0; i < kQuads; i++) {
      const u32 k = (c.thread + i * kConsumerThreads) * 4;
      v[i] = Vec2{0, 0};
      if (k < C::kK) v[i] = load_vec2(x + k);
    }
#pragma unroll
    for (u32 i = 0; i < kQuads; i++) {
      const u32 quad = c.thread + i * kConsumerThreads;
      if (quad < kAllQuads) *reinterpret_cast<Vec2*>(c.work + quad * 8) = v[i];
    }
  }

  MPK_DEVICE void load(Context& c, const typename C::X* x) {
    if constexpr (C::kNorm == 0 && sizeof(typename C::X) == 2) {
      copy(c, x);
    } else {
      convert(c, x);
    }
  }

  MPK_DEVICE void convert(Context& c, const typename C::X* x) {
    float v[kQuads][4];
    float squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < kQuads; i++) {
      const u32 k = (c.thread + i * kConsumerThreads) * 4;
      v[i][0] = v[i][1] = v[i][2] = v[i][3] = 0.0f;
      if (k < C::kK) load_four(x + k, v[i]);
    }
    float scale = 1.0f;
    if (C::kNorm == 1) {
#pragma unroll
      for (u32 i = 0; i < kQuads; i++) {
        squares += v[i][0] * v[i][0] + v[i][1] * v[i][1] + v[i][2] * v[i][2] + v[i][3] * v[i][3];
      }
      squares = group_sum(c, squares, 1) * (1.0f / static_cast<float>(C::kK));
      scale = m_rsqrt(squares + C::kEps);
    }
#pragma unroll
    for (u32 i = 0; i < kQuads; i++) {
      const u32 quad = c.thread + i * kConsumerThreads;
      if (quad >= kAllQuads) continue;
      float y[4] = {v[i][0], v[i][1], v[i][2], v[i][3]};
      if (C::kNorm == 1 && quad * 4 < C::kK) {
        float gain[4];
        gains[i].get(static_cast<const typename C::Gain*>(nullptr), gain);
#pragma unroll
        for (u32 j = 0; j < 4; j++) y[j] = v[i][j] * scale * gain[j];
      }
      *reinterpret_cast<Vec2*>(c.work + quad * 8) =
          Vec2{pack_bf16(y[0], y[1]), pack_bf16(y[2], y[3])};
    }
  }
};

// One chunk: kBlocksPerChunk blocks of 32 columns of each fold, two fragments each.
template <class C>
MPK_DEVICE void multiply_chunk(const u8* stage, const u8* act, bool active, u32 lane,
                               float (&acc)[2][4]) {
  const u8* a = stage + lane * 16;
  u32 read = 0;  // a word of every load from the stage, which the caller frees
#pragma unroll
  for (u32 block = 0; block < C::kBlocksPerChunk; block++) {
    Vec4 b = {0, 0, 0, 0};
    if (active) b = *reinterpret_cast<const Vec4*>(act + block * C::kFolds * 64);
    Vec4 a0 = load_staged(a + block * 1024);
    Vec4 a1 = load_staged(a + block * 1024 + 512);
    mma_16x8x16(acc[0], a0, b.x, b.y);
    mma_16x8x16(acc[1], a1, b.z, b.w);
    read ^= a0.x ^ a1.x;
  }
  await_loads(read);
}

// Adds a warp's accumulators of one token to its own slot: 16 floats.
template <class C> MPK_DEVICE void flush_partial(float* slot, u32 lane, float (&acc)[2][4]) {
  add_rows<C>(slot, lane, acc);
  for (u32 i = 0; i < 4; i++) acc[0][i] = acc[1][i] = 0.0f;
}

// What scales a row's products: nothing; see few_rows.cuh for what else.
template <class C> struct RowScale {
  MPK_DEVICE static float times(const Context&, u32, float sum) { return sum; }
};

// Adds the warps' slots in order, of one fold after the other, and finishes every output of a tile group.
// `first` are the extras of this thread's first output, loaded while the weights streamed by. From a tile's
// sums to the next one's are kTileFloats, or if 0 as many as it has.
template <class C, u32 kTileFloats = 0>
MPK_DEVICE void finish_group(Context& c, const u32* ops, const float* partial, u32 tile0,
                             u32 tiles, u32 rows, const typename C::Extras& first) {
  constexpr u32 kWidth = C::kWidth;
  for (u32 e = c.thread; e < tiles * rows * kWidth; e += kConsumerThreads) {
    u32 r = e % kWidth, token = (e / kWidth) % rows, tile = e / (kWidth * rows);
    u32 column = (tile0 + tile) * kWidth + r;
    if (column >= C::kN) continue;
    typename C::Extras extras = first;
    if (e != c.thread) extras.load(c, ops, token, column);
    float acc[C::kGroups];
    for (u32 g = 0; g < C::kGroups; g++) {
      float sum = 0.0f;
#pragma unroll
      for (u32 fold = 0; fold < C::kFolds; fold++) {
        const u32 at = kTileFloats == 0 ? (tile * rows + token) * 16 : tile * kTileFloats + token * 16;
        const float* p = partial + at + (fold * C::kGroups + g) * kWidth + r;
        for (u32 w = 0; w < kConsumerWarps; w++) sum += p[w * kSlot];
      }
      acc[g] = RowScale<C>::times(c, token, sum);
    }
    store_output<C>(c, ops, token, column, extras.epilogue(acc));
  }
}

// Extras of the output that this thread finishes first in a tile group.
template <class C>
MPK_DEVICE void load_first_extras(const Context& c, const u32* ops, u32 tile0, u32 tiles, u32 rows,
                                  typename C::Extras& extras) {
  constexpr u32 kWidth = C::kWidth;
  const u32 e = c.thread, tile = e / (kWidth * rows);
  const u32 column = (tile0 + tile) * kWidth + e % kWidth;
  if (tile < tiles && column < C::kN) extras.load(c, ops, (e / kWidth) % rows, column);
}

//flags: template <class C, bool kWaits, bool kSignals>
//flags: MPK_DEVICE void run_linear_of_one(Context& c, const u32* in);
// A linear in a step of one token; false: it has no text of its own for that. kWaits, kSignals: some
// instruction of this body waits for events, or signals some, in such a step.
template <class C, bool kWaits, bool kSignals>
MPK_DEVICE bool run_linear_alone(Context& c, const u32* in) {
  //flags: if constexpr (C::kFlagged) {
  //flags:   run_linear_of_one<C, kWaits, kSignals>(c, in);
  //flags:   return true;
  //flags: }
  return false;
}
template <class C> MPK_DEVICE void run_linear_of_few(Context& c, const u32* in);
template <class C> MPK_DEVICE void run_linear_of_shared(Context& c, const u32* in);

// A linear as steps of several tokens have it, whose x may be rounded already: see BodyOperand.
template <class C> struct FewInput : C {
  typedef typename C::FewX X;
};

// Whether tiles share slices of x: see few_shared.cuh. One token's x is in shared memory as a whole.
template <class C> MPK_DEVICE constexpr bool shares_slices() {
  return C::kTilesPerGroup > 1 && C::kChunksPerSlice < C::kChunksPerTile;
}

template <class C> MPK_DEVICE void run_linear(Context& c, const u32* in) {
  //few: if constexpr (C::kLastRow && sizeof(typename C::FewX) < sizeof(typename C::X)) {
  //few:   return run_linear<FewInput<C>>(c, in);
  //few: }
  bool several = c.tokens > 1;
  //flags: if (C::kFlagged) several = true;  // else it went its own way
  //flags: if (C::kFlagged && kMaxTokens == 1) return;
  if constexpr (kMaxTokens > 1 && C::kXRows != 1 && !C::kLastRow) {
    if constexpr (shares_slices<C>()) {
      if (several) return run_linear_of_shared<C>(c, in);
    } else {
      if (several) return run_linear_of_few<FewInput<C>>(c, in);
    }
  }
  constexpr u32 kChunkColumns = C::kBlocksPerChunk * C::kFolds * 32;
  constexpr u32 kPadK = C::kChunksPerTile * kChunkColumns;
  const u32* ops = operands(in);
  const u32 tileLo = in[kWordTileLo];
  // Everything at once if it fits, for as many tiles as their sums, else slice by slice of each tile.
  constexpr bool whole = kPadK * 2 + 64 <= kActivationBytes;
  constexpr bool inOrder = whole && !shares_slices<C>();
  constexpr u32 kGroupTiles = inOrder ? kSlot / 16 : C::kTilesPerGroup;
  constexpr u32 kSliceChunks = inOrder ? C::kChunksPerTile : C::kChunksPerSlice;
  const bool oneRow =
      //flags: !C::kFlagged &&  // those have a function of their own, and registers are few
      whole && OneRow<C>::kFits;
  OneRow<C> one = {};
  if (oneRow) one.load_gains(c, ops);
  begin_task(c, in);
  const typename C::X* x = in_scratch<typename C::X>(c, ops[C::kXOperand]);
  if (C::kLastRow) x += static_cast<u64>(c.tokens - 1) * C::kXStride;
  if (C::kNorm && !oneRow) row_statistics<C>(c, x);
  if (oneRow) {
    one.load(c, x);
  } else if (whole) {
    load_activations<C>(c, ops, x, 0, kPadK);
  }
  if (whole) consumer_barrier();
  //profile: if (whole) mark_aside(c, kMarkPlaced);
  float* partial = reinterpret_cast<float*>(c.work + kActivationBytes);
  u32 chunk = c.chunk;
  u32 buffer = 0;
  for (u32 tile0 = tileLo; tile0 < in[kWordTileHi]; tile0 += kGroupTiles) {
    const u32 left = in[kWordTileHi] - tile0;  // read anew: registers are few
    const u32 tiles = left < kGroupTiles ? left : kGroupTiles;
    typename C::Extras extras = {};
    load_first_extras<C>(c, ops, tile0, tiles, 1, extras);
    float* mine = partial + buffer * (kPartialBytes / 4) + c.warp * kSlot;
    for (u32 i = c.lane; i < tiles * 16; i += 32) mine[i] = 0.0f;
    warp_barrier();
    //profile: if (tile0 == tileLo) mark_aside(c, kMarkAsked);
    for (u32 slice = 0; slice < C::kChunksPerTile; slice += kSliceChunks) {
      const u32 ahead = C::kChunksPerTile - slice;
      const u32 perTile = ahead < kSliceChunks ? ahead : kSliceChunks;
      if (!whole) {
        consumer_barrier();
        load_activations<C>(c, ops, x, slice * kChunkColumns, perTile * kChunkColumns);
        consumer_barrier();
      }
      const u8* act = c.work + own_columns<C>(c.lane);
      if (whole) act += slice * (kChunkColumns * 2);
      const u32 total = tiles * perTile;
      float acc[2][4] = {};
      // This warp's first chunk of the slice.
      u32 i = (c.warp + kConsumerWarps - chunk % kConsumerWarps) % kConsumerWarps;
      u32 tile = i / perTile, k = i % perTile;
      while (i < total) {
        wait_full(c, chunk + i);
        multiply_chunk<C>(stage_of(c, chunk + i), act + k * (kChunkColumns * 2),
                          c.lane < 4 * C::kFolds, c.lane, acc);
        release_stage(c, chunk + i);
        i += kConsumerWarps;
        k += kConsumerWarps;
        if (k >= perTile || i >= total) {
          flush_partial<C>(mine + tile * 16, c.lane, acc);
          tile += k / perTile;
          k %= perTile;
        }
      }
      chunk += total;
    }
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed);
    finish_group<C>(c, ops, partial + buffer * (kPartialBytes / 4), tile0, tiles, 1,
                    extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    buffer ^= 1;
  }
  c.chunk = chunk;
  end_task(c, in);
}
