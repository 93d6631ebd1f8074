// Lays weights out as the streams want them: one block per task, 16 bytes per thread and turn.
// The order is StreamLayout's (see @mpk/schedule): groups of tiles, K slices, tiles, chunks,
// blocks of 32 columns of each fold, two fragments, 32 lanes.

MPK_DEVICE u32 pack_pair(const u16* row, bool inside, u32 k, u32 limit) {
  u32 low = inside && k < limit ? load_const_u16(row + k) : 0;
  u32 high = inside && k + 1 < limit ? load_const_u16(row + k + 1) : 0;
  return low | high << 16;
}

MPK_KERNEL void mpk_pack(u8* dst, const u32* tasks, const u16* src0, const u16* src1,
                         const u16* src2, const u16* src3, const u16* src4, const u16* src5,
                         const u16* src6, const u16* src7, u32 groups, u32 n, u32 k,
                         u32 blocksPerChunk, u32 chunksPerTile, u32 chunksPerSlice,
                         u32 tilesPerGroup, u32 folds) {
  const u16* src[8] = {src0, src1, src2, src3, src4, src5, src6, src7};
  const u32* task = tasks + block_index() * 4;
  u8* out = dst + static_cast<u64>(task[0]) * 128;
  const u32 tileLo = task[1], tileHi = task[2], width = 16 / groups / folds;
  const u64 units = static_cast<u64>(tileHi - tileLo) * chunksPerTile * blocksPerChunk * 64;
  for (u64 unit = thread_index(); unit < units; unit += block_threads()) {
    const u32 lane = unit & 31u, fragment = (unit >> 5) & 1u;
    const u64 blockIndex = unit >> 6;
    const u32 block = blockIndex % blocksPerChunk;
    u32 chunk = static_cast<u32>(blockIndex / blocksPerChunk);
    const u32 perGroup = tilesPerGroup * chunksPerTile;
    const u32 tile0 = tileLo + chunk / perGroup * tilesPerGroup;
    const u32 tiles = tileHi - tile0 < tilesPerGroup ? tileHi - tile0 : tilesPerGroup;
    chunk %= perGroup;
    const u32 slice0 = chunk / (tiles * chunksPerSlice) * chunksPerSlice;
    const u32 left = chunksPerTile - slice0;
    const u32 perTile = left < chunksPerSlice ? left : chunksPerSlice;
    chunk -= slice0 * tiles;
    const u32 tile = tile0 + chunk / perTile;
    const u32 first = ((slice0 + chunk % perTile) * blocksPerChunk + block) * folds;
    u32 words[4];
    for (u32 half = 0; half < 2; half++) {
      const u32 packed = (lane >> 2) + half * 8, group = packed / width % groups;
      const u32 k0 = (first + packed / width / groups) * 32 + (lane & 3u) * 8 + fragment * 4;
      const u32 row = tile * width + packed % width;
      const u16* from = src[group] + static_cast<u64>(row) * k;
      words[half] = pack_pair(from, row < n, k0, k);
      words[half + 2] = pack_pair(from, row < n, k0 + 2, k);
    }
    store_vec4(out + unit * 16, Vec4{words[0], words[1], words[2], words[3]});
  }
}
