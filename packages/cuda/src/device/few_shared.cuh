// Linear layers in steps of two to eight tokens whose x does not stay in registers: tiles in pairs share
// it. Their chunks follow each other in slices of K, one chunk a warp and tile, so that a warp multiplies
// both tiles' chunks by the columns that it loads once.

template <class C> struct SharedProducts {
  typedef FewRows<C> Rows;
  static constexpr u32 kSlices = C::kChunksPerTile / kConsumerWarps;
  // Slices of x in registers: this one, the next.
  static constexpr u32 kTurns = kFewRegisters ? 1 : 2;
  static_assert(C::kChunksPerTile % kConsumerWarps == 0 && C::kTilesPerGroup == 2, "see chunksPerSlice");
  static_assert(C::kNorm == 0 && sizeof(typename C::X) == 2 && C::kFolds == 1, "fragments as they lie");
  typename Rows::Raw raw[kTurns][Rows::kParts];
  u32 own;      // this warp's chunk of each slice and tile
  bool second;  // raw[second] is the next slice's
  bool begun;   // the first chunk is done, and the slice behind it asked for

  template <u32 kTurn> MPK_DEVICE void load(const Rows& x, u32 slice) {
    const u32 k = slice % kSlices * kConsumerWarps + own;
#pragma unroll
    for (u32 part = 0; part < Rows::kParts; part++) x.load(k, part, raw[kTurn % kTurns][part]);
  }
  MPK_DEVICE void open(const Rows& x) {
    second = begun = false;
    load<0>(x, 0);
  }
  // The first chunk's products.
  MPK_DEVICE void begin(const Rows& x, const HeldChunk<C>& early, FewSums<C>& acc) {
    load<1>(x, 1);
#pragma unroll
    for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
      const Vec4 own = raw[0][b / Rows::kPart][b % Rows::kPart].words;
      mma_16x8x16(acc[0], early.a[2 * b], own.x, own.y);
      mma_16x8x16(acc[1], early.a[2 * b + 1], own.z, own.w);
    }
    begun = true;
  }
  template <u32 kTurn> MPK_DEVICE void multiply_chunk(Context& c, u32 chunk, FewSums<C>& acc) {
    wait_full(c, chunk);
    u32 read = 0;
#pragma unroll
    for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
      const u32 word = multiply_raw<C>(stage_of(c, chunk), b, c.lane,
                                       raw[kTurn % kTurns][b / Rows::kPart], b % Rows::kPart, acc);
      if (b + 2 >= C::kBlocksPerChunk) read ^= word;
    }
    await_loads(read);
    release_stage(c, chunk);
  }
  // A slice of `tiles` tiles, one or two, whose first chunk is number `chunk` of the ring.
  template <u32 kTurn>
  MPK_DEVICE void step(Context& c, const Rows& x, u32 chunk, u32 tiles, u32 slice, bool more,
                       FewSums<C> (&acc)[2]) {
    if (kTurns == 2 && more && !begun) load<kTurn ^ 1u>(x, slice + 1);
    if (!begun) multiply_chunk<kTurn>(c, chunk + own, acc[0]);
    begun = false;
    if (tiles == 2) multiply_chunk<kTurn>(c, chunk + own + kConsumerWarps, acc[1]);
    if (kTurns == 1 && more) load<0>(x, slice + 1);
    second = kTurn == 0;
  }
  // All slices of a group of tiles; `last`: x is not wanted again.
  MPK_DEVICE void multiply(Context& c, const Rows& x, u32 chunk, u32 tiles, bool last,
                           FewSums<C> (&acc)[2]) {
    for (u32 slice = 0; slice < kSlices; slice++, chunk += tiles * kConsumerWarps) {
      const bool more = slice + 1 < kSlices || !last;
      if (kTurns == 2 && second) {
        step<1>(c, x, chunk, tiles, slice, more, acc);
      } else {
        step<0>(c, x, chunk, tiles, slice, more, acc);
      }
    }
  }
};

template <class C> MPK_DEVICE void run_linear_of_shared(Context& c, const u32* in) {
  const u32* ops = operands(in);
  const u32 tileLo = in[kWordTileLo], tileHi = in[kWordTileHi], rows = c.tokens;
  // Each tile of a pair has one of the two buffers.
  float* partial = reinterpret_cast<float*>(c.work + kActivationBytes);
  SharedProducts<C> products = {};
  products.own = (c.warp + kConsumerWarps - c.chunk % kConsumerWarps) % kConsumerWarps;
  const FewOutput<C> output(c, rows);
  HeldChunk<C> early;
  if constexpr (SharedProducts<C>::kTurns == 2) early.take(c, c.chunk + products.own);
  begin_task(c, in);
  FewRows<C> x;
  x.open(c, ops);
  FewSums<C> acc[2] = {};
  products.open(x);
  typename C::Extras extras = {};
  output.load(c, ops, tileLo, tileHi - tileLo < 2 ? 1 : 2, extras);
  if constexpr (SharedProducts<C>::kTurns == 2) products.begin(x, early, acc[0]);
  //profile: mark_aside(c, kMarkPlaced);
  u32 chunk = c.chunk;
  for (u32 tile0 = tileLo; tile0 < tileHi; tile0 += 2) {
    const u32 tiles = tileHi - tile0 < 2 ? 1 : 2;
    if (tile0 > tileLo) output.load(c, ops, tile0, tiles, extras);
    //profile: if (tile0 == tileLo) mark_aside(c, kMarkAsked);
    products.multiply(c, x, chunk, tiles, tile0 + 2 >= tileHi, acc);
    chunk += tiles * C::kChunksPerTile;
    if (tile0 > tileLo) consumer_barrier();  // the pair before has left the buffers
    put_partial<C>(partial + c.warp * kSlot, rows, c.lane, acc[0]);
    if (tiles == 2) {
      put_partial<C>(partial + kPartialBytes / 4 + c.warp * kSlot, rows, c.lane, acc[1]);
    }
    clear_sums<C>(acc[0]);
    clear_sums<C>(acc[1]);
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed);
    finish_few<C, 16 * C::kWidth, kPartialBytes / 4>(c, ops, partial, tile0, tiles, rows, output, extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
  }
  c.chunk = chunk;
  end_task(c, in);
}
