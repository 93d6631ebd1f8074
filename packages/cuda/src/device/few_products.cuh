// Products of steps of two to eight tokens: how a warp's chunks of weights meet its fragments of x.

// A warp's sums of a tile. Columns are tokens, so folded weights are multiplied once by each fold's x, and
// of each of these products the fold's rows count.
template <class C> using FewSums = float[2 * C::kFolds][4];

// acc += a block's two fragments of weights times x's of each fold. Gives a word of each, for await_loads:
// those of a chunk's last two blocks will do, as a warp's loads arrive in about their order. (A loop that
// is taken once would change the order of registers in code without folds.)
template <class C>
MPK_DEVICE u32 multiply_block(const u8* stage, u32 block, u32 lane, const Vec4 (&x)[C::kFolds],
                              FewSums<C>& acc) {
  const u8* a = stage + block * 1024 + lane * 16;
  const Vec4 a0 = load_staged(a), a1 = load_staged(a + 512);
  mma_16x8x16(acc[0], a0, x[0].x, x[0].y);
  mma_16x8x16(acc[1], a1, x[0].z, x[0].w);
  if constexpr (C::kFolds > 1) {
#pragma unroll
    for (u32 fold = 1; fold < C::kFolds; fold++) {
      mma_16x8x16(acc[2 * fold], a0, x[fold].x, x[fold].y);
      mma_16x8x16(acc[2 * fold + 1], a1, x[fold].z, x[fold].w);
    }
  }
  return a0.x ^ a1.x;
}

// The same by rows that are fragments as they lie in memory: blocks of x from number `at` on.
template <class C, u32 kBlocks>
MPK_DEVICE u32 multiply_raw(const u8* stage, u32 block, u32 lane, const RawEight<u16> (&x)[kBlocks],
                            u32 at, FewSums<C>& acc) {
  Vec4 own[C::kFolds];
#pragma unroll
  for (u32 fold = 0; fold < C::kFolds; fold++) own[fold] = x[at + fold].words;
  return multiply_block<C>(stage, block, lane, own, acc);
}

template <bool kFirst, class A, class B> struct Either {
  typedef A Type;
};
template <class A, class B> struct Either<false, A, B> {
  typedef B Type;
};

// A warp's first chunk of weights, taken out of the ring while x is on its way: room for one more.
template <class C> struct HeldChunk {
  Vec4 a[C::kBlocksPerChunk * 2];

  MPK_DEVICE void take(Context& c, u32 chunk) {
    wait_full(c, chunk);
    const u8* from = stage_of(c, chunk) + c.lane * 16;
    u32 word = 0;
#pragma unroll
    for (u32 i = 0; i < C::kBlocksPerChunk * 2; i++) {
      a[i] = load_staged(from + i * 512);
      word ^= a[i].x;
    }
    await_loads(word);
    release_stage(c, chunk);
  }
};

// A warp's chunks of tile after tile, chunk i being warp (i mod warps)'s, with x in registers.
template <class C> struct KeptProducts {
  typedef FewRows<C> Rows;
  static constexpr u32 kWarps = Rows::kWarps;
  static constexpr u32 kOwn = C::kChunksPerTile < kWarps ? 1 : C::kChunksPerTile / kWarps;
  // Each tile, or each so many, brings a warp the same chunks of K, and those fit 64 registers, or 32
  // where threads have few.
  static constexpr bool kFits = (C::kChunksPerTile % kWarps == 0 || kWarps % C::kChunksPerTile == 0) &&
                                kOwn * Rows::kBlocks <= (kFewRegisters ? 8 : 16);
  typedef HeldRows<C, kOwn> Held;
  typedef typename Either<Held::kNorms, Scaled<C>, C>::Type Finished;
  // A tile has a chunk for each warp, whose fragments have registers beside x's.
  static constexpr bool kEarly = !kFewRegisters && C::kFolds == 1 && kWarps == kConsumerWarps &&
                                 C::kChunksPerTile >= kWarps;
  Held held = {};
  u32 next;  // this warp's next chunk, counted from the task's first
  bool begun;  // the first one is done

  // The first chunk's products.
  MPK_DEVICE void begin(const HeldChunk<C>& early, FewSums<C>& acc) {
#pragma unroll
    for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
      const Vec4 x = held.part[b / Rows::kPart][b % Rows::kPart];
      mma_16x8x16(acc[0], early.a[2 * b], x.x, x.y);
      mma_16x8x16(acc[1], early.a[2 * b + 1], x.z, x.w);
    }
    begun = true;
  }
  // `sums`: room for what norms need, two times [warp][row].
  MPK_DEVICE void open(Context& c, FewRows<C>& x, u32 first, u32, float* sums) {
    if (!Held::kNorms) x.find_scale(c, sums);
    if (kWarps == kConsumerWarps) {
      next = first;
      held.load(c, x, first);
    } else if (c.warp < kWarps) {
      next = c.warp;
      held.load(c, x, c.warp);
    } else {
      next = ~0u;  // none
    }
  }
  // Chunks of the task below `end`, its first being number `chunk` of the ring.
  MPK_DEVICE void multiply(Context& c, const FewRows<C>&, u32 chunk, u32 end, FewSums<C>& acc) {
#pragma unroll
    for (u32 j = 0; j < kOwn; j++) {
      if (next >= end) return;
      if (kEarly && j == 0 && begun) {
        begun = false;
        next += kWarps;
        continue;
      }
      wait_full(c, chunk + next);
      u32 read = 0;
#pragma unroll
      for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
        Vec4 own[C::kFolds];
#pragma unroll
        for (u32 fold = 0; fold < C::kFolds; fold++) {
          const u32 at = b * C::kFolds + fold;
          own[fold] = held.part[j * Rows::kParts + at / Rows::kPart][at % Rows::kPart];
        }
        const u32 word = multiply_block<C>(stage_of(c, chunk + next), b, c.lane, own, acc);
        if (b + 2 >= C::kBlocksPerChunk) read ^= word;
      }
      await_loads(read);
      release_stage(c, chunk + next);
      next += kWarps;
    }
  }
};

// The same with x's fragments loaded ahead of each part of a chunk.
template <class C> struct LoadedProducts {
  typedef FewRows<C> Rows;
  typedef C Finished;
  static constexpr u32 kPartBlocks = Rows::kPart / C::kFolds;  // of weights
  typename Rows::Raw raw;  // of the chunk `next`, from `part` on
  u32 next, total;

  MPK_DEVICE void open(Context& c, Rows& x, u32 first, u32 chunks, float* sums) {
    x.find_scale(c, sums);
    next = first;
    total = chunks;
    x.load(first % C::kChunksPerTile, 0, raw);
  }
  MPK_DEVICE void multiply(Context& c, const Rows& x, u32 chunk, u32 end, FewSums<C>& acc) {
    while (next < end) {
      const u32 k = next % C::kChunksPerTile;
      const u32 after = (next + kConsumerWarps) % C::kChunksPerTile;
      u32 read = 0;
#pragma unroll 1
      for (u32 part = 0; part < Rows::kParts; part++) {
        Vec4 now[kPartBlocks][C::kFolds];
#pragma unroll
        for (u32 b = 0; b < Rows::kPart; b++) {
          now[b / C::kFolds][b % C::kFolds] = x.finish(c, raw[b], k, part * Rows::kPart + b);
        }
        const bool isLast = part + 1 == Rows::kParts;
        x.load(isLast ? after : k, isLast ? 0 : part + 1, raw);
        if (part == 0) wait_full(c, chunk + next);
#pragma unroll
        for (u32 b = 0; b < kPartBlocks; b++) {
          const u32 block = part * kPartBlocks + b;
          if (C::kBlocksPerChunk % kPartBlocks != 0 && block >= C::kBlocksPerChunk) break;
          const u32 word =
              multiply_block<C>(stage_of(c, chunk + next), block, c.lane, now[b], acc);
          if (block + 2 >= C::kBlocksPerChunk) read ^= word;
        }
      }
      await_loads(read);
      release_stage(c, chunk + next);
      next += kConsumerWarps;
    }
  }
};

// The same for rows that are fragments as they lie in memory: those of the next chunk are on their way
// in registers that no other value passes through, so that no chunk waits for the next one's.
template <class C> struct AheadProducts {
  typedef FewRows<C> Rows;
  static constexpr bool kFits = C::kNorm == 0 && sizeof(typename C::X) == 2 && Rows::kParts == 1 &&
                                !Rows::kPadded && !kFewRegisters;
  typedef C Finished;
  typename Rows::Raw raw[2];
  u32 next;
  bool second;  // raw[second] is the next chunk's

  MPK_DEVICE static void load(const Rows& x, u32 at, typename Rows::Raw& to) {
    x.load(at % C::kChunksPerTile, 0, to);
  }
  MPK_DEVICE void open(Context&, Rows& x, u32 first, u32, float*) {
    next = first;
    second = false;
    load(x, first, raw[0]);
  }
  template <u32 kTurn>
  MPK_DEVICE void step(Context& c, const Rows& x, u32 chunk, FewSums<C>& acc) {
    load(x, next + kConsumerWarps, raw[kTurn ^ 1u]);
    wait_full(c, chunk + next);
    u32 read = 0;
#pragma unroll
    for (u32 b = 0; b < C::kBlocksPerChunk; b++) {
      const u32 word =
          multiply_raw<C>(stage_of(c, chunk + next), b, c.lane, raw[kTurn], b * C::kFolds, acc);
      if (b + 2 >= C::kBlocksPerChunk) read ^= word;
    }
    await_loads(read);
    release_stage(c, chunk + next);
    next += kConsumerWarps;
    second = kTurn == 0;
  }
  MPK_DEVICE void multiply(Context& c, const Rows& x, u32 chunk, u32 end, FewSums<C>& acc) {
    while (next < end) {
      if (second) {
        step<1>(c, x, chunk, acc);
      } else {
        step<0>(c, x, chunk, acc);
      }
    }
  }
};

// The same where folds take twice the registers for a chunk: each half of it makes room for the next one's.
template <class C> struct HalvesAhead {
  typedef FewRows<C> Rows;
  static constexpr bool kFits = C::kNorm == 0 && sizeof(typename C::X) == 2 && Rows::kParts == 2 &&
                                C::kFolds == 2 && !Rows::kPadded && !kFewRegisters;
  typedef C Finished;
  static constexpr u32 kBlocks = Rows::kPart / C::kFolds;  // of weights, of half a chunk
  typename Rows::Raw raw[2];
  u32 next;

  MPK_DEVICE void load(const Rows& x, u32 half) {
    x.load(next % C::kChunksPerTile, half, raw[half]);
  }
  MPK_DEVICE void open(Context&, Rows& x, u32 first, u32, float*) {
    next = first;
    load(x, 0);
    load(x, 1);
  }
  MPK_DEVICE void multiply(Context& c, const Rows& x, u32 chunk, u32 end, FewSums<C>& acc) {
    while (next < end) {
      const u32 now = chunk + next;
      next += kConsumerWarps;
      wait_full(c, now);
      u32 read = 0;
#pragma unroll
      for (u32 half = 0; half < 2; half++) {
#pragma unroll
        for (u32 b = 0; b < kBlocks; b++) {
          const u32 block = half * kBlocks + b;
          if (block >= C::kBlocksPerChunk) break;
          const u32 word =
              multiply_raw<C>(stage_of(c, now), block, c.lane, raw[half], b * C::kFolds, acc);
          if (block + 2 >= C::kBlocksPerChunk) read ^= word;
        }
        load(x, half);
      }
      await_loads(read);
      release_stage(c, now);
    }
  }
};
