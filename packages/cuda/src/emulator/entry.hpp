// Follows the emitted source in its translation unit: tells the emulator what the source defines.
#ifndef MPK_ENTRY_HPP
#define MPK_ENTRY_HPP

namespace {

void decode(const void* params) { mpk_decode(*static_cast<const Params*>(params)); }

void pack(const emulator::PackArguments& a) {
  const u16* const* s = a.sources;
  mpk_pack(a.dst, a.tasks, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], a.groups, a.n, a.k,
           a.blocksPerChunk, a.chunksPerTile, a.chunksPerSlice, a.tilesPerGroup, a.folds);
}

emulator::HostWords host_words(const void* params) {
  const Params& p = *static_cast<const Params*>(params);
  return {reinterpret_cast<u32*>(p.control), reinterpret_cast<const i32*>(p.tokens), abort_word(p)};
}

}  // namespace

extern "C" const emulator::Kernel emulator::mpk_kernel = {
    sizeof(Params),
    sizeof(kRunStart) / sizeof(kRunStart[0]) - 1,
    kThreads,
    kStages* kStageBytes + kWorkBytes + kSharedReserve,
    kControlProduced,
    kControlStatus,
    kControlSteps,
    kControlStop,
    decode,
    pack,
    host_words,
};

#endif
