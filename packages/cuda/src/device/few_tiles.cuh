// Tasks of few tiles in steps of 9 to 16 tokens. A warp has every kConsumerWarps-th chunk of each tile, and
// the columns of x that they are multiplied by in registers, straight from where x is: once for all tiles.
// Nothing of x lies in shared memory, and warps meet only for the ring's sake, once in kConsumerWarps
// chunks of a tile, not once in each: tasks of one to three tiles spent half of their time on that.

template <class C> struct FewTiles {
  static constexpr u32 kOctets = 2;
  static constexpr u32 kChunkColumns = C::kBlocksPerChunk * 32;
  static constexpr u32 kRounds = (C::kChunksPerTile + kConsumerWarps - 1) / kConsumerWarps;
  // At the end: the sums of all warps, [warp][tile][octet], beside the rows' scales.
  static constexpr u32 kTileBytes = kConsumerWarps * kOctets * kOctetSums * 4;
  // Tiles that have room for that, and for their chunks between two barriers in the ring.
  static constexpr u32 kByWork = (kWorkBytes - kScaleBytes) / kTileBytes;
  static constexpr u32 kByRing = kStages / kConsumerWarps;
  static constexpr u32 kFit = kByWork < kByRing ? kByWork : kByRing;
  static constexpr u32 kMost = kFit < 3 ? kFit : 3;
  static constexpr bool kHas = kTokenRows == 16 && kHoldsEarly && C::kCopiesX && C::kNorm == 0 &&
                               C::kBlocksPerChunk <= 8 && kMost > 0;

  // Blocks of a chunk whose columns of the next round are loaded beside this one's; those behind them are
  // loaded once this one's are used. Of a chunk of eight these are 96 registers.
  static constexpr u32 kTwice =
      C::kBlocksPerChunk < 4 ? C::kBlocksPerChunk : 4;
  static constexpr u32 kOnce = C::kBlocksPerChunk - kTwice;
  typedef Vec4 Columns[kOctets];
  const u16* row[kOctets];  // from this lane's first column on
  u32 column;
  Columns x[2][kTwice];  // of this round and the next
  Columns rest[kOnce > 0 ? kOnce : 1];
  float acc[kMost > 0 ? kMost : 1][kOctets][4];

  // Rows beyond the step are its last one.
  MPK_DEVICE void open(const Context& c, const u32* ops) {
    column = (c.lane & 3u) * 8;
    const u16* from = in_scratch<u16>(c, ops[C::kXOperand]) + column;
#pragma unroll
    for (u32 t = 0; t < kOctets; t++) {
      const u32 at = t * 8 + (c.lane >> 2);
      row[t] = from + static_cast<u64>(at < c.tokens ? at : c.tokens - 1) * C::kXStride;
    }
    load(c, 0, 0, x[0]);
    load_rest(c, 0);
    if (kRounds > 1) load(c, 1, 0, x[1]);
#pragma unroll
    for (u32 m = 0; m < kMost; m++) {
#pragma unroll
      for (u32 t = 0; t < kOctets; t++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) acc[m][t][i] = 0.0f;
      }
    }
  }

  // Blocks of this warp's chunk from number `first` on. A warp without a chunk in the last round loads any.
  template <u32 kCount>
  MPK_DEVICE void load(const Context& c, u32 round, u32 first, Columns (&to)[kCount]) {
    const u32 own = round * kConsumerWarps + c.warp, k = own < C::kChunksPerTile ? own : 0;
#pragma unroll
    for (u32 b = 0; b < kCount; b++) {
      const u32 at = k * kChunkColumns + (first + b) * 32;
      const bool inside = C::kChunksPerTile * kChunkColumns == C::kK || at + column < C::kK;
#pragma unroll
      for (u32 t = 0; t < kOctets; t++) to[b][t] = inside ? load_vec4(row[t] + at) : Vec4{0, 0, 0, 0};
    }
  }
  MPK_DEVICE void load_rest(const Context& c, u32 round) {
    if constexpr (kOnce > 0) load(c, round, kTwice, rest);
  }

  // A tile's chunk times the columns of this round.
  template <u32 kTurn>
  MPK_DEVICE void multiply_chunk(Context& c, u32 chunk, float (&sums)[kOctets][4]) {
    wait_full(c, chunk);
    const u8* stage = stage_of(c, chunk) + c.lane * 16;
    float second[kOctets][4] = {};  // halves the chain
    u32 read = 0;
#pragma unroll
    for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
      const Vec4 a0 = load_staged(stage + b * 1024), a1 = load_staged(stage + b * 1024 + 512);
      read ^= a0.x ^ a1.x;
      const Columns& v = b < kTwice ? x[kTurn][b % kTwice] : rest[b - kTwice];
#pragma unroll
      for (u32 t = 0; t < kOctets; t++) mma_16x8x16(sums[t], a0, v[t].x, v[t].y);
#pragma unroll
      for (u32 t = 0; t < kOctets; t++) mma_16x8x16(second[t], a1, v[t].z, v[t].w);
    }
    await_loads(read);
    release_stage(c, chunk);
#pragma unroll
    for (u32 t = 0; t < kOctets; t++) {
#pragma unroll
      for (u32 i = 0; i < 4; i++) sums[t][i] += second[t][i];
    }
  }

  template <u32 kTurn> MPK_DEVICE void multiply(Context& c, u32 tiles, u32 round) {
    const u32 k = round * kConsumerWarps + c.warp;
    if (k < C::kChunksPerTile) {
#pragma unroll
      for (u32 m = 0; m < kMost; m++) {
        if (m < tiles) multiply_chunk<kTurn>(c, c.chunk + k * tiles + m, acc[m]);
      }
    }
    if (round + 1 < kRounds) load_rest(c, round + 1);
    if (round + 2 < kRounds) load(c, round + 2, 0, x[kTurn]);
    // The next warp to wait for one of these stages must find this fill there, or it takes the one before
    // for its own.
    if (round + 1 < kRounds) consumer_barrier();
  }

  MPK_DEVICE void multiply_all(Context& c, u32 tiles) {
#pragma unroll 1
    for (u32 round = 0; round < kRounds; round += 2) {
      multiply<0>(c, tiles, round);
      if (round + 1 < kRounds) multiply<1>(c, tiles, round + 1);
    }
  }

  MPK_DEVICE void put(const Context& c, u32 tiles) const {
    float* own = reinterpret_cast<float*>(c.work) + c.warp * (tiles * kOctets * kOctetSums);
#pragma unroll
    for (u32 m = 0; m < kMost; m++) {
      if (m >= tiles) break;
#pragma unroll
      for (u32 t = 0; t < kOctets; t++) put_octet(own + (m * kOctets + t) * kOctetSums, c.lane, acc[m][t]);
    }
  }
};

template <class C> MPK_DEVICE void run_few_tiles(Context& c, const u32* in) {
  typedef FewTiles<C> Few;
  const u32* ops = operands(in);
  const u32 tile0 = in[kWordTileLo], tiles = in[kWordTileHi] - tile0, rows = c.tokens;
  const u32 octets = tiles * Few::kOctets;
  begin_task(c, in);
  Few few;
  few.open(c, ops);
  typename Either<C::kScales, ProductScales<C>, NoScales>::Type scales = {};
  scales.ask(c, ops, rows);
  Octet<C> own = {};  // of which this warp adds up the sums
  const u32 tile = tile0 + c.warp / Few::kOctets, octet = c.warp % Few::kOctets;
  if (c.warp < octets) own.load(c, ops, tile, octet, rows);
  //profile: mark_aside(c, kMarkAsked);
  few.multiply_all(c, tiles);
  scales.put(c, ops, rows);
  few.put(c, tiles);
  consumer_barrier();
  //profile: mark_aside(c, kMarkConsumed);
  if (c.warp < octets) {
    float total[Octet<C>::kCount][C::kGroups] = {};
    add_warps<C, kConsumerWarps>(reinterpret_cast<const float*>(c.work) + c.warp * kOctetSums,
                                 octets * kOctetSums, c.lane, total);
    own.store(c, ops, tile, octet, rows, total);
  }
  //profile: if (c.thread == 0) mark(c, kMarkStored);
  c.chunk += tiles * C::kChunksPerTile;
  end_task(c, in);
}
