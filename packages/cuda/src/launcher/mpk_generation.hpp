// One generation: what may be asked for, the launch, and following it from the host.
#ifndef MPK_GENERATION_HPP
#define MPK_GENERATION_HPP

#include <cmath>

#include "mpk_lost.hpp"

namespace mpk {

const int kMaxEosIds = static_cast<int>(sizeof(Params::eos) / sizeof(i32));

inline void checkOptions(const mpk_options& options) {
  if (options.max_tokens < 0) failInput("max_tokens is negative; 0 is until the end");
  if (!(options.temperature >= 0.0f) || std::isinf(options.temperature)) {
    failInput("temperature is " + std::to_string(options.temperature) +
              ", expected 0 (greedy) or more");
  }
  if (options.top_k < 0) failInput("top_k is negative; 0 is off");
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    failInput("top_p is " + std::to_string(options.top_p) + ", expected a number in (0, 1]");
  }
  if (options.eos_count < 0 || options.eos_count > kMaxEosIds) {
    failInput("eos_count is " + std::to_string(options.eos_count) + ", expected 0 to " +
              std::to_string(kMaxEosIds));
  }
  if (options.eos_count > 0 && options.eos_ids == nullptr) failInput("eos_ids is NULL");
  if (options.step_end_nanos != nullptr && options.step_capacity < 0) {
    failInput("step_capacity is negative");
  }
}

inline void checkPrompt(const int* prompt, int count) {
  const int vocab = mpk_vocab(), context = mpk_max_context();
  if (prompt == nullptr || count < 1) {
    failInput("the prompt is empty; give at least one token, such as the BOS token");
  }
  if (count >= context) {
    failInput("the prompt has " + std::to_string(count) + " tokens, the context holds " +
              std::to_string(context) + " with at least one generated token");
  }
  for (int i = 0; i < count; i++) {
    if (prompt[i] >= 0 && prompt[i] < vocab) continue;
    failInput("prompt token " + std::to_string(i) + " is " + std::to_string(prompt[i]) +
              ", outside the vocabulary 0.." + std::to_string(vocab - 1));
  }
}

// A watchdog's report in words: which SM waited where, for what, and what it saw.
inline std::string watchdogText(const Model& model, const u32* control) {
  const u32 op = control[kControlReportOp], kind = control[kControlReportKind];
  std::string where = "op " + std::to_string(op);
  if (op < model.opCount) {
    const OpName& name = model.ops[op];
    where = std::string(name.kind) + " of " + (*name.scope ? name.scope : "the program");
    if (*name.site) where += std::string(" (") + name.site + ")";
  }
  const std::string at = std::to_string(control[kControlReportEvent]);
  const std::string what =
      kind == kReportEvent  ? "event " + at
      : kind == kReportFlag ? "words of its input " + at
                            : "chunk " + at + " of its weight stream";
  return "the watchdog ended the kernel: in step " + std::to_string(control[kControlReportStep]) +
         ", SM " + std::to_string(control[kControlReportSm]) + ", instruction " +
         std::to_string(control[kControlReportInstruction]) + ", " + where + " waited for " +
         what + ": expected " + std::to_string(control[kControlReportExpected]) + ", saw " +
         std::to_string(control[kControlReportSeen]) +
         "; on a slow or shared GPU raise watchdog_nanos";
}

// One launch. The destructor ends a kernel that still runs, whatever happened on the host.
class Generation {
 public:
  Generation(const Model& model, mpk_model& owner, const mpk_options& options, int promptCount)
      : model_(model), owner_(owner), options_(options), control_(owner.control.host<u32>()),
        lostMillis_(lostMillisOf(model, options)) {
    const u32 count = static_cast<u32>(promptCount), room = model.maxContext - count;
    const u32 wanted = static_cast<u32>(options.max_tokens);
    params_.promptCount = count;
    params_.maxNew = wanted == 0 || wanted > room ? room : wanted;
    promptSteps_ = (count + model.maxTokens - 1) / model.maxTokens;
    if (options.step_end_nanos != nullptr) {
      params_.stampCount = std::min(static_cast<u32>(options.step_capacity),
                                    promptSteps_ + params_.maxNew - 1);
      stamps_ = allocate(8ull * params_.stampCount, "step times");
    }
    if (options.last_logits != nullptr) {
      params_.logitsSteps = promptSteps_;
      logits_ = allocate(4ull * model.vocab * promptSteps_, "the logits of the prompt's steps");
    }
    fillParams();
  }
  ~Generation() {
    if (!running_) return;
    stop();
    Standstill isLost(control_, lostMillis_);
    while (running_ && cudaStreamQuery(owner_.stream.get()) == cudaErrorNotReady) {
      if (isLost()) abandon();
      pause();
    }
  }
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  void launch(const int* prompt) {
    const cudaStream_t stream = owner_.stream.get();
    std::memset(control_, 0, 4 * kControlWords);
    owner_.upload(prompt, params_.promptCount, owner_.prompt);
    check(cudaMemsetAsync(owner_.events.get(), 0, model_.eventBytes, stream), "clearing events");
    check(cudaMemsetAsync(owner_.steps.get(), 0, model_.stepBytes, stream), "clearing steps");
    if (model_.flagBytes > 0) {
      void* const copies = static_cast<u8*>(owner_.scratch.get()) + model_.flagOffset;
      check(cudaMemsetAsync(copies, 0xff, model_.flagBytes, stream), "clearing flagged values");
    }
    check(cudaEventRecord(owner_.start.get(), stream), "launching the kernel");
    void* arguments[] = {&params_};
    check(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(model_.decodeKernel),
                                      dim3(model_.blocks), dim3(model_.threads), arguments,
                                      model_.sharedBytes, stream),
          "launching the kernel");
    running_ = true;
    check(cudaEventRecord(owner_.end.get(), stream), "launching the kernel");
  }

  // Hands tokens out while the kernel writes them; returns once it ended.
  void follow(mpk_token_callback callback, void* user) {
    const u32* tokens = owner_.tokens.host<u32>();
    Standstill isLost(control_, lostMillis_);
    u32 given = 0;
    while (running_) {
      // Asked before the count is read, so that no token of a kernel that ended is missed.
      const cudaError_t state = cudaStreamQuery(owner_.stream.get());
      if (state != cudaErrorNotReady) {
        running_ = false;
        check(state, "running the kernel");
      }
      const u32 produced = std::min(loadAcquire(control_ + kControlProduced), params_.maxNew);
      const bool idle = given == produced;
      for (; given < produced && !stopped_; given++) {
        if (callback == nullptr || callback(static_cast<int>(tokens[given]), user) == 0) continue;
        stopped_ = true;
        handedOut_ = given + 1;
        stop();
      }
      if (stopped_) given = produced;
      if (!running_ || !idle) continue;
      if (isLost()) {
        abandon();
        const bool told = loadAcquire(control_ + kControlStatus) == kStatusWatchdog;
        throw lostFailure(control_, lostMillis_, told ? watchdogText(model_, control_) : "");
      }
      pause();
    }
    if (!stopped_) handedOut_ = given;
  }

  // After follow: outputs, or the kernel's own complaint.
  void finish() {
    mpk_summary summary;
    summary.finish = finishOf(loadAcquire(control_ + kControlStatus));
    summary.tokens = static_cast<int>(handedOut_);
    const u32 steps = loadAcquire(control_ + kControlSteps);
    summary.steps = static_cast<int>(steps);
    float millis = 0;
    check(cudaEventElapsedTime(&millis, owner_.start.get(), owner_.end.get()), "timing");
    summary.kernel_millis = millis;
    download(options_.step_end_nanos, stamps_.get(), 8ull * std::min(steps, params_.stampCount));
    if (params_.logitsSteps > 0) {
      const float* rows = static_cast<const float*>(logits_.get());
      const u64 skipped = static_cast<u64>(promptSteps_ - 1) * model_.vocab;
      download(options_.last_logits, rows + skipped, 4ull * model_.vocab);
    }
    if (options_.summary != nullptr) *options_.summary = summary;
  }

 private:
  const Model& model_;
  mpk_model& owner_;
  const mpk_options& options_;
  u32* control_;
  u64 lostMillis_;
  Params params_ = {};
  u32 promptSteps_ = 0, handedOut_ = 0;
  DeviceMemory stamps_, logits_;
  bool running_ = false, stopped_ = false;

  void stop() { storeRelease(control_ + kControlStop, 1); }
  static void pause() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

  // The kernel may go on for ever: nothing that it uses is given back.
  void abandon() {
    running_ = false;
    owner_.lost = true;
    stamps_.abandon();
    logits_.abandon();
  }

  void fillParams() {
    const auto at = [](const DeviceMemory& memory) { return static_cast<u8*>(memory.get()); };
    params_.stream = at(owner_.packed);
    params_.resident = at(owner_.resident);
    params_.scratch = at(owner_.scratch);
    params_.kv = at(owner_.kv);
    params_.pageTable = at(owner_.pageTable);
    params_.events = at(owner_.events);
    params_.steps = at(owner_.steps);
    params_.prompt = at(owner_.prompt);
    params_.control = owner_.control.device<u8>();
    params_.tokens = owner_.tokens.device<u8>();
    params_.stamps = at(stamps_);
    params_.logitsLog = at(logits_);
    params_.seed = options_.seed;
    params_.watchdogNanos =
        options_.watchdog_nanos == 0 ? model_.watchdogNanos : options_.watchdog_nanos;
    params_.topP = options_.top_p;
    params_.promptChunk = model_.maxTokens;
    params_.startPosition = 0;
    params_.eosCount = static_cast<u32>(options_.eos_count);
    for (int i = 0; i < options_.eos_count; i++) params_.eos[i] = options_.eos_ids[i];
    params_.topK = static_cast<u32>(options_.top_k);
    params_.temperature = options_.temperature;
  }

  void download(void* to, const void* from, u64 bytes) {
    if (bytes == 0) return;
    const cudaStream_t stream = owner_.stream.get();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "reading results");
    check(cudaStreamSynchronize(stream), "reading results");
  }

  mpk_finish finishOf(u32 status) const {
    if (status == kStatusWatchdog) throw Failure{MPK_ERROR_KERNEL, watchdogText(model_, control_)};
    if (status == kStatusBadToken) {
      const u32 step = loadAcquire(control_ + kControlSteps) - 1;
      throw Failure{MPK_ERROR_KERNEL, "sample, step " + std::to_string(step) +
                                          ": no token could be chosen: the logits are not numbers "
                                          "(NaN); look for them in the checkpoint's weights"};
    }
    const bool full = params_.promptCount + params_.maxNew >= model_.maxContext;
    if (stopped_ || status == kStatusStopped) return MPK_FINISH_STOPPED;
    if (status == kStatusEos) return MPK_FINISH_EOS;
    if (status == kStatusMaxNew) return full ? MPK_FINISH_CONTEXT_FULL : MPK_FINISH_MAX_TOKENS;
    if (status == kStatusContextFull) return MPK_FINISH_CONTEXT_FULL;
    throw Failure{MPK_ERROR_KERNEL, "the kernel ended with status " + std::to_string(status) +
                                        "; this is a fault of the kernel: please report it"};
  }
};

}  // namespace mpk

#endif
