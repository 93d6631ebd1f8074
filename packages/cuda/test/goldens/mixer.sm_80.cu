// mixer for 2 SMs
// Emitted by @mpk/cuda. One cooperative launch decodes until it is told to stop.

// [machine.cuh]
struct Params {
  u8* stream;  // packed weights
  u8* resident;  // gains, biases, embedding tables
  u8* scratch;  // activations
  u8* kv;  // KV pools of all states
  u8* pageTable;  // i32 [pages]: physical page of each logical page
  u8* events;  // counters, zero before every launch
  u8* steps;  // two step descriptors, zero before every launch
  u8* prompt;  // i32 [promptCount] token ids
  u8* control;  // host-mapped words, see `ControlWord`
  u8* tokens;  // host-mapped i32 [maxNew]: generated ids
  u8* stamps;  // u64 [stampCount]: globaltimer at the end of each step, ns; may be 0
  u8* logitsLog;  // f32 [logitsSteps, vocab]: last row's logits of each step; may be 0
  u64 seed;  // Philox key
  u64 watchdogNanos;  // a wait longer than this ends the kernel with a report
  double topP;  // 1: off
  u32 promptCount;
  u32 promptChunk;  // prompt tokens per step, 1 .. maxTokens
  u32 startPosition;  // position of the prompt's first token
  u32 maxNew;  // tokens to generate at most
  u32 stampCount;
  u32 logitsSteps;
  u32 eosCount;
  i32 eos[8];
  u32 topK;  // 0: off
  float temperature;  // 0: greedy
};

// ---- constants of this plan ------------------------------------------------------------------
constexpr u32 kMaxTokens = 3u;
constexpr u32 kMaxContext = 16u;
constexpr u32 kVocab = 300u;
constexpr u32 kStages = 8u;
constexpr u32 kStageBytes = 8192u;
constexpr u32 kMaxInFlight = 5u;
constexpr u32 kConsumerWarps = 8u;
constexpr u32 kConsumerThreads = 256u;
constexpr u32 kThreads = 288u;
constexpr u32 kConsumerRegisters = 0u;
constexpr u32 kProducerRegisters = 0u;
constexpr u32 kActivationBytes = 192u;
constexpr u32 kPartialBytes = 6144u;
constexpr u32 kWorkBytes = 12480u;
constexpr u32 kSharedReserve = 2048u;
constexpr u32 kSharedPages = 64u;
constexpr u32 kPages = 1u;
constexpr u32 kPageTokens = 64u;
constexpr u32 kEventStride = 128u;
constexpr u32 kStepEvent = 5u;
constexpr u32 kInstructionWords = 14u;
constexpr u32 kPlaceBits = 3u;
constexpr u32 kWordSize = 0u;
constexpr u32 kWordBody = 1u;
constexpr u32 kWordOp = 2u;
constexpr u32 kWordTileLo = 3u;
constexpr u32 kWordTileHi = 4u;
constexpr u32 kWordWaits = 5u;
constexpr u32 kWordSignals = 6u;
constexpr u32 kWordFirstWait = 7u;
constexpr u32 kControlStop = 0u;
constexpr u32 kControlProduced = 1u;
constexpr u32 kControlStatus = 2u;
constexpr u32 kControlSteps = 3u;
constexpr u32 kControlReportKind = 8u;
constexpr u32 kControlReportSm = 9u;
constexpr u32 kControlReportInstruction = 10u;
constexpr u32 kControlReportOp = 11u;
constexpr u32 kControlReportEvent = 12u;
constexpr u32 kControlReportExpected = 13u;
constexpr u32 kControlReportSeen = 14u;
constexpr u32 kControlReportStep = 15u;
constexpr u32 kStatusRunning = 0u;
constexpr u32 kStatusMaxNew = 1u;
constexpr u32 kStatusEos = 2u;
constexpr u32 kStatusStopped = 3u;
constexpr u32 kStatusContextFull = 4u;
constexpr u32 kStatusWatchdog = 5u;
constexpr u32 kStatusBadToken = 6u;
constexpr u32 kReportEvent = 1u;
constexpr u32 kReportStream = 2u;

// [core.cuh]
// [ring.cuh]
// [folds.cuh]
// [values.cuh]
// [linear.cuh]
// [few_rows.cuh]
// [few_products.cuh]
// [linear_of_few.cuh]
// [heads.cuh]
// [attention.cuh]
// [columns.cuh]
// [query_warp.cuh]
// [queries.cuh]
// [tiles.cuh]
// [attention_of_one.cuh]
// [attention_of_few.cuh]
// [rows.cuh]
// [candidates.cuh]
// [shortlist.cuh]
// [sampling.cuh]
// [choose.cuh]
// ---- tables of this plan ---------------------------------------------------------------------
// Start of each SM's stream in the packed image.
MPK_CONSTANT u64 kStreamBase[] = {
  0u, 0u
};
// By body: chunks of a tile and bytes of a chunk.
MPK_CONSTANT u32 kBodyTileChunks[] = {
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u
};
MPK_CONSTANT u32 kBodyChunkBytes[] = {
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u
};
// The rolled instruction lists: runs of SM i are kRunStart[i] .. kRunStart[i + 1].
MPK_CONSTANT u32 kRunStart[] = {
  0u, 1u, 2u
};
MPK_CONSTANT u32 kRuns[] = {
  0u, 69u, 1u, 69u, 80u, 1u
};
MPK_CONSTANT u32 kWords[] = {
  13u, 0u, 0u, 0u, 1u, 1u, 1u, 2147483653u, 1u, 0u, 0u, 0u, 0u, 10u, 1u, 3u,
  0u, 2u, 0u, 1u, 1u, 200u, 1920u, 14u, 3u, 5u, 0u, 1u, 2u, 0u, 2u, 1u,
  1u, 2u, 1920u, 3200u, 3840u, 10u, 4u, 6u, 0u, 1u, 0u, 0u, 3840u, 0u, 5760u, 10u,
  5u, 8u, 0u, 1u, 0u, 1u, 3u, 5760u, 7680u, 12u, 6u, 9u, 0u, 1u, 1u, 1u,
  3u, 2u, 4u, 7680u, 0u, 13u, 0u, 0u, 1u, 2u, 1u, 1u, 2147483653u, 1u, 0u, 0u,
  0u, 0u, 12u, 1u, 3u, 2u, 4u, 1u, 1u, 0u, 2u, 1u, 200u, 1920u, 12u, 2u,
  4u, 0u, 1u, 0u, 1u, 2u, 0u, 11264u, 11280u, 3200u, 10u, 3u, 5u, 1u, 2u, 0u,
  0u, 1920u, 3200u, 3840u, 10u, 4u, 6u, 1u, 2u, 0u, 0u, 3840u, 0u, 5760u, 10u, 5u,
  8u, 1u, 2u, 0u, 1u, 3u, 5760u, 7680u, 13u, 7u, 10u, 0u, 1u, 1u, 1u, 4u,
  1u, 5u, 7680u, 0u, 128u
};
MPK_CONSTANT u32 kDeltas[] = {
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u
};

// ---- task bodies of this plan ----------------------------------------------------------------
// embedding, first at the top
struct Body0 {
  static constexpr u32 kN = 300, kTile = 256, kRows = 0;
  static constexpr u32 kOutStride = 300, kOutOperand = 2;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return load_resident(in_resident<u16>(c, ops[1]) + static_cast<u64>(static_cast<u32>(static_cast<float>(c.shared->step.ids[row]))) * 300 + column);
  }
};
// softmax, first at the top
struct Body1 {
  static constexpr u32 kKind = 3, kWidth = 50, kRows = 0;
  static constexpr float kEps = 0.0f;
  static constexpr u32 kXStride = 300, kXOperand = 0;
  static constexpr u32 kOutStride = 200, kOutOperand = 1;
  typedef float X;
  typedef float Out;
  MPK_DEVICE static u32 first_row(const Context& c) { return 0; }
  MPK_DEVICE static float finish(const Context& c, const u32* ops, u32 i, float value) {
    return value;
  }
};
// layerNorm, first at the top
struct Body2 {
  static constexpr u32 kKind = 2, kWidth = 100, kRows = 0;
  static constexpr float kEps = 0.00000999999975f;
  static constexpr u32 kXStride = 300, kXOperand = 0;
  static constexpr u32 kOutStride = 100, kOutOperand = 3;
  typedef float X;
  typedef float Out;
  MPK_DEVICE static u32 first_row(const Context& c) { return 0; }
  MPK_DEVICE static float finish(const Context& c, const u32* ops, u32 i, float value) {
    return value * load_resident(in_resident<u16>(c, ops[1]) + i) + load_resident(in_resident<u16>(c, ops[2]) + i);
  }
};
// concat, first at the top
struct Body3 {
  static constexpr u32 kN = 300, kTile = 256, kRows = 0;
  static constexpr u32 kOutStride = 300, kOutOperand = 2;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return (column < 200u ? load_one(in_scratch<float>(c, ops[0]) + static_cast<u64>(row) * 200 + column) : load_one(in_scratch<float>(c, ops[1]) + static_cast<u64>(row) * 100 + (column - 200u)));
  }
};
// pointwise, first at the top
struct Body4 {
  static constexpr u32 kN = 300, kTile = 256, kRows = 0;
  static constexpr u32 kOutStride = 300, kOutOperand = 2;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return ((load_one(in_scratch<float>(c, ops[0]) + static_cast<u64>(row) * 300 + column) < load_one(in_scratch<float>(c, ops[1]) + static_cast<u64>(row) * 300 + column) ? 1.0f : 0.0f) != 0.0f ? (m_tanh(load_one(in_scratch<float>(c, ops[0]) + static_cast<u64>(row) * 300 + column)) - 1.5f) : (load_one(in_scratch<float>(c, ops[1]) + static_cast<u64>(row) * 300 + column) * load_one(in_scratch<float>(c, ops[1]) + static_cast<u64>(row) * 300 + column)));
  }
};
// pointwise, first at the top
struct Body5 {
  static constexpr u32 kN = 300, kTile = 256, kRows = 1;
  static constexpr u32 kOutStride = 300, kOutOperand = 1;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return (load_one(in_scratch<float>(c, ops[0]) + static_cast<u64>((c.tokens - 1)) * 300 + column) * 0.5f);
  }
};
// blockMax, first at the top
struct Body6 {
  static constexpr u32 kN = 300, kBlock = 512;
  static constexpr u32 kXOperand = 0, kOutOperand = 1;
};
// sample, first at the top
struct Body7 {
  static constexpr u32 kXOperand = 0, kOutOperand = 2;
  static constexpr i32 kBlockMaxOperand = 1;
  static constexpr u32 kBlocks = 1;
};
// What steps of one token run lies together: of a layer that is most of the 128 KB of text that an SM
// keeps near. False: the body has no text of its own for them.
MPK_DEVICE bool run_alone(Context& c, const u32* in) {
  switch (in[kWordBody]) {
    default:
      return false;
  }
}

MPK_DEVICE void run_body(Context& c, const u32* in) {
  // Otherwise what depends on the thread alone is computed once for all bodies, ahead of the step
  // loop, and its registers are missing everywhere.
  forget(c.thread);
  forget(c.warp);
  forget(c.lane);
  forget(c.sm);
  if (c.tokens == 1 && run_alone(c, in)) return;
  switch (in[kWordBody]) {
    case 0:
      run_elements<Body0>(c, in);
      break;
    case 1:
      run_row_op<Body1>(c, in);
      break;
    case 2:
      run_row_op<Body2>(c, in);
      break;
    case 3:
      run_elements<Body3>(c, in);
      break;
    case 4:
      run_elements<Body4>(c, in);
      break;
    case 5:
      run_elements<Body5>(c, in);
      break;
    case 6:
      run_block_max<Body6>(c, in);
      break;
    case 7:
      run_sample<Body7>(c, in);
      break;
  }
}

// [decode.cuh]
// [pack.cuh]
