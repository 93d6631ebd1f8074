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
    load_first_extras<C>(c, ops, tile0, tiles, rows, extras);
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
    finish_group<typename Products::Finished>(c, ops, group, tile0, tiles, rows, extras);
    //profile: if (c.thread == 0) mark(c, kMarkStored);
    buffer ^= 1;
  }
  c.chunk += (tileHi - tileLo) * C::kChunksPerTile;
  end_task(c, in);
}
