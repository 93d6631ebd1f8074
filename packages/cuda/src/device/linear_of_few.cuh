// Linear layers in steps of two to eight tokens, which share each product's columns. x never lies in
// shared memory: a lane's fragments of it come straight from where it is, see few_rows.cuh, as a warp
// meets the same few chunks of K in every tile. Those that fit registers stay there for the whole task;
// others are loaded anew for each tile, some of them ahead.

// Number i of a lane's sums, which is of half 0 or 1 of the packed rows, by their fold's x.
template <class C>
MPK_DEVICE float sum_of(const FewSums<C>& acc, u32 half, u32 i, u32 lane) {
  constexpr u32 kOther = C::kFolds / 4;  // of four folds, two share a half
  const u32 fold = half * C::kFolds / 2;
  if (kOther > 0 && fold_of<C>(half, lane) % 2 == 1) {
    return acc[2 * (fold + kOther)][i] + acc[2 * (fold + kOther) + 1][i];
  }
  return acc[2 * fold][i] + acc[2 * fold + 1][i];
}

// A warp's sums of a tile to its slot: [token][16].
template <class C>
MPK_DEVICE void put_partial(float* slot, u32 rows, u32 lane, const FewSums<C>& acc) {
  const u32 row = lane >> 2, token = (lane & 3u) * 2;
  if (token < rows) {
    slot[token * 16 + row] = sum_of<C>(acc, 0, 0, lane);
    slot[token * 16 + row + 8] = sum_of<C>(acc, 1, 2, lane);
  }
  if (token + 1 < rows) {
    slot[(token + 1) * 16 + row] = sum_of<C>(acc, 0, 1, lane);
    slot[(token + 1) * 16 + row + 8] = sum_of<C>(acc, 1, 3, lane);
  }
}

template <class C> MPK_DEVICE void clear_sums(FewSums<C>& acc) {
#pragma unroll
  for (u32 i = 0; i < 2 * C::kFolds; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0.0f;
}

// The output that a thread finishes first in each group of tiles: which one it is takes divisions, and is
// known before x is there.
template <class C> struct FewOutput {
  u32 tile, token, row;

  MPK_DEVICE FewOutput(const Context& c, u32 rows)
      : tile(c.thread / (C::kWidth * rows)), token(c.thread / C::kWidth % rows), row(c.thread % C::kWidth) {}
  MPK_DEVICE u32 column(u32 tile0) const { return (tile0 + tile) * C::kWidth + row; }
  MPK_DEVICE bool has(u32 tile0, u32 tiles) const { return tile < tiles && column(tile0) < C::kN; }
  MPK_DEVICE void load(const Context& c, const u32* ops, u32 tile0, u32 tiles,
                       typename C::Extras& extras) const {
    if (has(tile0, tiles)) extras.load(c, ops, token, column(tile0));
  }
};

// What finish_group does where a thread has one output of a group, of at most kMost, and knows which.
template <class C, u32 kMost, u32 kTileFloats, class Output>
MPK_DEVICE void finish_few(Context& c, const u32* ops, const float* partial, u32 tile0, u32 tiles, u32 rows,
                           const Output& output, const typename C::Extras& extras) {
  if constexpr (kMost > kConsumerThreads) {
    finish_group<C, kTileFloats>(c, ops, partial, tile0, tiles, rows, extras);
  } else if (output.has(tile0, tiles)) {
    const u32 floats = kTileFloats == 0 ? rows * 16 : kTileFloats;
    const float* from = partial + output.tile * floats + output.token * 16 + output.row;
    float acc[C::kGroups];
    for (u32 g = 0; g < C::kGroups; g++) {
      float sum = 0.0f;
#pragma unroll
      for (u32 fold = 0; fold < C::kFolds; fold++) {
        const float* p = from + (fold * C::kGroups + g) * C::kWidth;
        for (u32 w = 0; w < kConsumerWarps; w++) sum += p[w * kSlot];
      }
      acc[g] = RowScale<C>::times(c, output.token, sum);
    }
    store_output<C>(c, ops, output.token, output.column(tile0), extras.epilogue(acc));
  }
}

// Weights come tile after tile: see run_linear, which has steps of one token.
template <class C> MPK_DEVICE void run_linear_of_few(Context& c, const u32* in) {
  typedef typename Either<HalvesAhead<C>::kFits, HalvesAhead<C>, LoadedProducts<C>>::Type Halves;
  typedef typename Either<AheadProducts<C>::kFits, AheadProducts<C>, Halves>::Type Loaded;
  typedef typename Either<KeptProducts<C>::kFits, KeptProducts<C>, Loaded>::Type Products;
  constexpr bool kEarly = KeptProducts<C>::kFits && KeptProducts<C>::kEarly;
  const u32* ops = operands(in);
  const u32 tileLo = in[kWordTileLo], tileHi = in[kWordTileHi], rows = c.tokens;
  float* partial = reinterpret_cast<float*>(c.work + kActivationBytes);
  FewRows<C>::bring_gains(c, ops);
  const FewOutput<C> output(c, rows);
  const u32 first = (c.warp + kConsumerWarps - c.chunk % kConsumerWarps) % kConsumerWarps;
  HeldChunk<C> early;
  if constexpr (kEarly) early.take(c, c.chunk + first);
  begin_task(c, in);
  FewRows<C> x;
  x.open(c, ops);
  Products products = {};
  // Norms sum in the second buffer: a barrier lies before it is used for products.
  products.open(c, x, first, (tileHi - tileLo) * C::kChunksPerTile, partial + kPartialBytes / 4);
  //profile: mark_aside(c, kMarkPlaced);
  FewSums<C> acc = {};
  if constexpr (kEarly) products.begin(early, acc);
  const u32 groupTiles = kSlot / (rows * 16);
  u32 buffer = 0;
  for (u32 tile0 = tileLo; tile0 < tileHi; tile0 += groupTiles) {
    const u32 tiles = tileHi - tile0 < groupTiles ? tileHi - tile0 : groupTiles;
    typename C::Extras extras = {};
    output.load(c, ops, tile0, tiles, extras);
    float* group = partial + buffer * (kPartialBytes / 4);
    //profile: if (tile0 == tileLo) mark_aside(c, kMarkAsked);
    for (u32 tile = 0; tile < tiles; tile++) {
      const u32 end = (tile0 + tile + 1 - tileLo) * C::kChunksPerTile;
      products.multiply(c, x, c.chunk, end, acc);
      put_partial<C>(group + c.warp * kSlot + tile * rows * 16, rows, c.lane, acc);
      clear_sums<C>(acc);
    }
    consumer_barrier();
    //profile: mark_aside(c, kMarkConsumed);
    finish_few<typename Products::Finished, kSlot, 0>(c, ops, group, tile0, tiles, rows, output, extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    buffer ^= 1;
  }
  c.chunk += (tileHi - tileLo) * C::kChunksPerTile;
  end_task(c, in);
}
