// Tiles folded along K: their 16 packed rows are 16 / kFolds rows of weights in kFolds parts (folds),
// which take turns in blocks of 32 columns. In products of one token each fold's x is a column of its own
// and a row's product is in the column of its fold; those of several tokens are in linear_of_few.cuh. What
// a row's folds have is added last, with what the warps have.

// Where a lane finds its part of one token's x in shared memory: its fold's, as mma's column.
template <class C> MPK_DEVICE u32 own_columns(u32 lane) {
  return C::kFolds == 1 ? (lane & 3u) * 16 : (lane >> 2) * 64 + (lane & 3u) * 16;
}
template <class C> MPK_DEVICE bool has_column(u32 lane) { return (lane >> 2) < C::kFolds; }

// Half 0 or 1 of the packed rows: the fold of row (lane >> 2) of it.
template <class C> MPK_DEVICE u32 fold_of(u32 half, u32 lane) {
  return half * C::kFolds / 2 + (C::kFolds > 2 ? lane >> 4 : 0);
}

// Adds one token's sums to the warp's slot of 16 floats: of each packed row the column of its fold.
template <class C> MPK_DEVICE void add_rows(float* slot, u32 lane, const float (&sum)[4]) {
#pragma unroll
  for (u32 half = 0; half < 2; half++) {
    const u32 fold = fold_of<C>(half, lane);
    if ((lane & 3u) != fold / 2) continue;
    slot[(lane >> 2) + 8 * half] += fold % 2 == 0 ? sum[2 * half] : sum[2 * half + 1];
  }
}
// The same from two accumulators that take turns, or from four.
template <class C> MPK_DEVICE void add_rows(float* slot, u32 lane, const float (&acc)[2][4]) {
  if constexpr (C::kFolds == 1) {
    const u32 row = lane >> 2;
    if ((lane & 3u) == 0) {
      slot[row] += acc[0][0] + acc[1][0];
      slot[row + 8] += acc[0][2] + acc[1][2];
    }
  } else {
    float sum[4];
    for (u32 i = 0; i < 4; i++) sum[i] = acc[0][i] + acc[1][i];
    add_rows<C>(slot, lane, sum);
  }
}
template <class C> MPK_DEVICE void add_rows(float* slot, u32 lane, const float (&acc)[4][4]) {
  if constexpr (C::kFolds == 1) {
    if ((lane & 3u) == 0) {
      slot[lane >> 2] += (acc[0][0] + acc[1][0]) + (acc[2][0] + acc[3][0]);
      slot[(lane >> 2) + 8] += (acc[0][2] + acc[1][2]) + (acc[2][2] + acc[3][2]);
    }
  } else {
    float sum[4];
    for (u32 i = 0; i < 4; i++) sum[i] = (acc[0][i] + acc[1][i]) + (acc[2][i] + acc[3][i]);
    add_rows<C>(slot, lane, sum);
  }
}
