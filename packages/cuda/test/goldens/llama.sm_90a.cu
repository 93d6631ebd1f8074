// llama for 2 SMs
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
constexpr u32 kMaxTokens = 2u;
constexpr u32 kMaxContext = 64u;
constexpr u32 kVocab = 40u;
constexpr u32 kStages = 8u;
constexpr u32 kStageBytes = 8192u;
constexpr u32 kMaxInFlight = 5u;
constexpr u32 kConsumerWarps = 8u;
constexpr u32 kConsumerThreads = 256u;
constexpr u32 kThreads = 384u;
constexpr u32 kConsumerRegisters = 232u;
constexpr u32 kProducerRegisters = 40u;
constexpr u32 kActivationBytes = 1536u;
constexpr u32 kPartialBytes = 4096u;
constexpr u32 kWorkBytes = 9728u;
constexpr u32 kSharedReserve = 2048u;
constexpr u32 kSharedPages = 64u;
constexpr u32 kPages = 1u;
constexpr u32 kPageTokens = 64u;
constexpr u32 kEventStride = 128u;
constexpr u32 kStepEvent = 8u;
constexpr u32 kInstructionWords = 16u;
constexpr u32 kPlaceBits = 4u;
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
  0u, 9216u
};
// By body: chunks of a tile and bytes of a chunk.
MPK_CONSTANT u32 kBodyTileChunks[] = {
  0u, 1u, 0u, 1u, 1u, 1u, 1u, 0u, 0u
};
MPK_CONSTANT u32 kBodyChunkBytes[] = {
  0u, 1024u, 0u, 1024u, 1024u, 2048u, 1024u, 0u, 0u
};
// The rolled instruction lists: runs of SM i are kRunStart[i] .. kRunStart[i + 1].
MPK_CONSTANT u32 kRunStart[] = {
  0u, 1u, 2u
};
MPK_CONSTANT u32 kRuns[] = {
  0u, 101u, 1u, 101u, 111u, 1u
};
MPK_CONSTANT u32 kWords[] = {
  16u, 1u, 1u, 0u, 2u, 2u, 1u, 2147483656u, 1u, 0u, 1u, 1u, 0u, 0u, 160u, 128u,
  16u, 2u, 5u, 0u, 1u, 1u, 1u, 1u, 2u, 2u, 128u, 192u, 224u, 0u, 384u, 0u,
  14u, 3u, 6u, 0u, 1u, 1u, 1u, 2u, 2u, 3u, 384u, 0u, 0u, 128u, 15u, 4u,
  7u, 0u, 3u, 1u, 1u, 3u, 2u, 4u, 128u, 0u, 0u, 176u, 0u, 14u, 5u, 8u,
  0u, 1u, 1u, 1u, 4u, 2u, 5u, 0u, 0u, 128u, 256u, 14u, 6u, 9u, 0u, 1u,
  1u, 1u, 5u, 2u, 6u, 256u, 0u, 192u, 0u, 12u, 7u, 10u, 0u, 1u, 1u, 1u,
  6u, 2u, 7u, 0u, 128u, 13u, 0u, 0u, 0u, 1u, 1u, 1u, 2147483656u, 1u, 0u, 0u,
  0u, 0u, 12u, 1u, 1u, 2u, 4u, 0u, 1u, 1u, 0u, 0u, 160u, 128u, 16u, 2u,
  5u, 1u, 2u, 1u, 1u, 1u, 2u, 2u, 128u, 192u, 224u, 0u, 384u, 0u, 14u, 3u,
  6u, 1u, 2u, 1u, 1u, 2u, 2u, 3u, 384u, 0u, 0u, 128u, 15u, 4u, 7u, 3u,
  6u, 1u, 1u, 3u, 2u, 4u, 128u, 0u, 0u, 176u, 0u, 14u, 5u, 8u, 1u, 2u,
  1u, 1u, 4u, 2u, 5u, 0u, 0u, 128u, 256u, 14u, 6u, 9u, 1u, 3u, 1u, 1u,
  5u, 2u, 6u, 256u, 0u, 192u, 0u, 13u, 8u, 11u, 0u, 1u, 1u, 1u, 7u, 1u,
  8u, 0u, 128u, 256u
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
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
  0u, 0u, 0u, 0u
};

// ---- task bodies of this plan ----------------------------------------------------------------
// embedding, first at the top
struct Body0 {
  static constexpr u32 kN = 32, kTile = 256, kRows = 0;
  static constexpr u32 kOutStride = 32, kOutOperand = 2;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return load_resident(in_resident<u16>(c, ops[1]) + static_cast<u64>(static_cast<u32>(static_cast<float>(c.shared->step.ids[row]))) * 32 + column);
  }
};
// linear, first at layers.0.self_attn
struct Body1 {
  static constexpr u32 kK = 32, kN = 64, kGroups = 1;
  static constexpr u32 kFolds = 1, kWidth = 16;
  static constexpr u32 kBlocksPerChunk = 1, kChunksPerTile = 1;
  static constexpr u32 kChunksPerSlice = 1, kTilesPerGroup = 4;
  static constexpr u32 kNorm = 1;
  static constexpr float kEps = 0.00000999999975f;
  static constexpr bool kLastRow = false, kVectorX = true;
  static constexpr u32 kXRows = 0, kXStride = 32, kOutStride = 64;
  static constexpr u32 kXOperand = 0, kOutOperand = 3;
  static constexpr u32 kGainOperand = 2, kNormBiasOperand = 0;
  typedef float X;
  typedef float FewX;
  static constexpr bool kWholeX = true;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  typedef u16 Gain;
  struct Extras {
    float value[1];
    MPK_DEVICE void load(const Context& c, const u32* ops, u32 row, u32 column) {
    }
    MPK_DEVICE float epilogue(const float (&acc)[kGroups]) const {
      return acc[0];
    }
  };
};
// attention, first at layers.0.self_attn
struct Body2 {
  static constexpr u32 kHeads = 2, kKvHeads = 1, kD = 16;
  static constexpr float kScale = 0.25f, kEps = 0.0f;
  static constexpr u32 kWindow = 0;
  static constexpr bool kQkNorm = false, kRope = true;
  static constexpr u32 kQStride = 64, kKStride = 64, kVStride = 64;
  static constexpr u32 kOutStride = 32, kOutOperand = 4;
  static constexpr u32 kQOperand = 0, kKOperand = 1, kVOperand = 2;
  static constexpr u32 kQGainOperand = 4, kKGainOperand = 5, kStateOperand = 5;
  typedef float Q;
  typedef float K;
  typedef float V;
  typedef u16 Gain;
  static constexpr bool kRoundsFew = true;
  MPK_DEVICE static float frequency(u32 i) {
    static MPK_TABLE float table[] = { 1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f, 0.00100000005f, 0.000316227786f };
    return table[i];
  }
};
// linear, first at layers.0.self_attn
struct Body3 {
  static constexpr u32 kK = 32, kN = 32, kGroups = 1;
  static constexpr u32 kFolds = 1, kWidth = 16;
  static constexpr u32 kBlocksPerChunk = 1, kChunksPerTile = 1;
  static constexpr u32 kChunksPerSlice = 1, kTilesPerGroup = 4;
  static constexpr u32 kNorm = 0;
  static constexpr float kEps = 0.0f;
  static constexpr bool kLastRow = false, kVectorX = true;
  static constexpr u32 kXRows = 0, kXStride = 32, kOutStride = 32;
  static constexpr u32 kXOperand = 0, kOutOperand = 3;
  static constexpr u32 kGainOperand = 0, kNormBiasOperand = 0;
  typedef float X;
  typedef u16 FewX;
  static constexpr bool kWholeX = true;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  typedef u16 Gain;
  struct Extras {
    float value[1];
    MPK_DEVICE void load(const Context& c, const u32* ops, u32 row, u32 column) {
      value[0] = load_one(in_scratch<float>(c, ops[2]) + static_cast<u64>(row) * 32 + column);
    }
    MPK_DEVICE float epilogue(const float (&acc)[kGroups]) const {
      return (value[0] + acc[0]);
    }
  };
};
// linear, first at layers.0.mlp
struct Body4 {
  static constexpr u32 kK = 32, kN = 48, kGroups = 2;
  static constexpr u32 kFolds = 1, kWidth = 8;
  static constexpr u32 kBlocksPerChunk = 1, kChunksPerTile = 1;
  static constexpr u32 kChunksPerSlice = 1, kTilesPerGroup = 4;
  static constexpr u32 kNorm = 1;
  static constexpr float kEps = 0.00000999999975f;
  static constexpr bool kLastRow = false, kVectorX = true;
  static constexpr u32 kXRows = 0, kXStride = 32, kOutStride = 48;
  static constexpr u32 kXOperand = 0, kOutOperand = 4;
  static constexpr u32 kGainOperand = 3, kNormBiasOperand = 0;
  typedef float X;
  typedef float FewX;
  static constexpr bool kWholeX = true;
  typedef u16 Out;
  static constexpr bool kOutTerms = false;
  typedef u16 Gain;
  struct Extras {
    float value[1];
    MPK_DEVICE void load(const Context& c, const u32* ops, u32 row, u32 column) {
    }
    MPK_DEVICE float epilogue(const float (&acc)[kGroups]) const {
      return ((acc[0] * m_sigmoid(acc[0])) * acc[1]);
    }
  };
};
// linear, first at layers.0.mlp
struct Body5 {
  static constexpr u32 kK = 48, kN = 32, kGroups = 1;
  static constexpr u32 kFolds = 1, kWidth = 16;
  static constexpr u32 kBlocksPerChunk = 2, kChunksPerTile = 1;
  static constexpr u32 kChunksPerSlice = 1, kTilesPerGroup = 4;
  static constexpr u32 kNorm = 0;
  static constexpr float kEps = 0.0f;
  static constexpr bool kLastRow = false, kVectorX = true;
  static constexpr u32 kXRows = 0, kXStride = 48, kOutStride = 32;
  static constexpr u32 kXOperand = 0, kOutOperand = 3;
  static constexpr u32 kGainOperand = 0, kNormBiasOperand = 0;
  typedef u16 X;
  typedef u16 FewX;
  static constexpr bool kWholeX = true;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  typedef u16 Gain;
  struct Extras {
    float value[1];
    MPK_DEVICE void load(const Context& c, const u32* ops, u32 row, u32 column) {
      value[0] = load_one(in_scratch<float>(c, ops[2]) + static_cast<u64>(row) * 32 + column);
    }
    MPK_DEVICE float epilogue(const float (&acc)[kGroups]) const {
      return (value[0] + acc[0]);
    }
  };
};
// linear, first at the top
struct Body6 {
  static constexpr u32 kK = 32, kN = 40, kGroups = 1;
  static constexpr u32 kFolds = 1, kWidth = 16;
  static constexpr u32 kBlocksPerChunk = 1, kChunksPerTile = 1;
  static constexpr u32 kChunksPerSlice = 1, kTilesPerGroup = 4;
  static constexpr u32 kNorm = 1;
  static constexpr float kEps = 0.00000999999975f;
  static constexpr bool kLastRow = true, kVectorX = true;
  static constexpr u32 kXRows = 0, kXStride = 32, kOutStride = 40;
  static constexpr u32 kXOperand = 0, kOutOperand = 3;
  static constexpr u32 kGainOperand = 2, kNormBiasOperand = 0;
  typedef float X;
  typedef float FewX;
  static constexpr bool kWholeX = true;
  typedef float Out;
  static constexpr bool kOutTerms = false;
  typedef u16 Gain;
  struct Extras {
    float value[1];
    MPK_DEVICE void load(const Context& c, const u32* ops, u32 row, u32 column) {
    }
    MPK_DEVICE float epilogue(const float (&acc)[kGroups]) const {
      return acc[0];
    }
  };
};
// blockMax, first at the top
struct Body7 {
  static constexpr u32 kN = 40, kBlock = 512;
  static constexpr u32 kXOperand = 0, kOutOperand = 1;
};
// sample, first at the top
struct Body8 {
  static constexpr u32 kXOperand = 0, kOutOperand = 2;
  static constexpr i32 kBlockMaxOperand = 1;
  static constexpr u32 kBlocks = 1;
};
// What steps of one token run lies together: of a layer that is most of the 128 KB of text that an SM
// keeps near. False: the body has no text of its own for them.
MPK_DEVICE bool run_alone(Context& c, const u32* in) {
  switch (in[kWordBody]) {
    case 1:
      return run_linear_alone<Body1, true, true>(c, in);
    case 2:
      return run_attention_alone<Body2>(c, in);
    case 3:
      return run_linear_alone<Body3, true, true>(c, in);
    case 4:
      return run_linear_alone<Body4, true, true>(c, in);
    case 5:
      return run_linear_alone<Body5, true, true>(c, in);
    case 6:
      return run_linear_alone<Body6, true, true>(c, in);
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
      run_linear<Body1>(c, in);
      break;
    case 2:
      run_attention<Body2>(c, in);
      break;
    case 3:
      run_linear<Body3>(c, in);
      break;
    case 4:
      run_linear<Body4>(c, in);
      break;
    case 5:
      run_linear<Body5>(c, in);
      break;
    case 6:
      run_linear<Body6>(c, in);
      break;
    case 7:
      run_block_max<Body7>(c, in);
      break;
    case 8:
      run_sample<Body8>(c, in);
      break;
  }
}

// [decode.cuh]
// [pack.cuh]
