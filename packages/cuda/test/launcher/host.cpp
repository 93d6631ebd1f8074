// A program over mpk.h on the fake GPU. Arguments: scenario, checkpoint folder. Prints what it saw.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_cuda.hpp"
#include "mpk.h"

namespace {

const int kPrompt[] = {1, 2, 3, 4, 5};
std::vector<int> tokens;

int keep(int token, void*) {
  tokens.push_back(token);
  return 0;
}
int stopAtThird(int token, void*) {
  tokens.push_back(token);
  return tokens.size() == 3;
}
int throwing(int, void*) { throw std::runtime_error("from the callback"); }
int generatesAgain(int, void* user) {
  mpk_error error;
  mpk_model* model = static_cast<mpk_model*>(user);
  const int code = mpk_generate(model, kPrompt, 5, nullptr, nullptr, nullptr, &error);
  std::printf("inner %d %s\n", code, error.message);
  return 1;
}

void printHex(const char* what, const mpk::u8* bytes, size_t count) {
  std::printf("%s ", what);
  for (size_t i = 0; i < count; i++) std::printf("%02x", bytes[i]);
  std::printf("\n");
}

void printTokens() {
  std::printf("tokens");
  for (int token : tokens) std::printf(" %d", token);
  std::printf("\n");
  tokens.clear();
}

mpk_code generate(mpk_model* model, mpk_options options, mpk_token_callback callback) {
  mpk_error error;
  mpk_summary summary = {};
  options.summary = &summary;
  const mpk_code code = mpk_generate(model, kPrompt, 5, &options, callback, model, &error);
  if (code != error.code) std::printf("codes differ\n");
  std::printf("code %d %s\n", code, error.message);
  if (code == MPK_OK) {
    std::printf("summary %d %d %d %.1f\n", summary.finish, summary.tokens, summary.steps,
                summary.kernel_millis);
  }
  printTokens();
  return code;
}

mpk_options upTo(mpk_model* model, int count) {
  mpk_options options = mpk_default_options(model);
  options.max_tokens = count;
  return options;
}

void outputs(mpk_model* model) {
  std::vector<float> logits(static_cast<size_t>(mpk_vocab()), -1.0f);
  std::vector<mpk_u64> nanos(4, 0);
  mpk_options options = upTo(model, 4);
  options.temperature = 0.5f;
  options.top_k = 7;
  options.top_p = 0.25;
  options.seed = 0xfedcba9876543210ull;
  options.last_logits = logits.data();
  options.step_end_nanos = nanos.data();
  options.step_capacity = 4;
  generate(model, options, keep);
  const mpk::Params& p = fakeGpu.params;
  std::printf("logits %g %g\n", logits.front(), logits.back());
  std::printf("nanos %llu %llu %llu %llu\n", nanos[0], nanos[1], nanos[2], nanos[3]);
  std::printf("params %g %u %g %llx %u %u %u %u %llu\n", p.temperature, p.topK, p.topP, p.seed,
              p.promptCount, p.promptChunk, p.startPosition, p.maxNew, p.watchdogNanos);
  std::printf("eos %u %d %d\n", p.eosCount, p.eos[0], p.eos[1]);
  printHex("stream", p.stream, mpk::kModel.streamBytes);
  printHex("resident", p.resident, mpk::kModel.residentBytes);
  printHex("pages", p.pageTable, 4 * mpk::kModel.pages);
  std::printf("dirty %d device %d\n", fakeGpu.dirty, fakeGpu.device);
}

void endings(mpk_model* model) {
  generate(model, upTo(model, 3), keep);
  generate(model, upTo(model, 0), keep);
  mpk_options ended = upTo(model, 0);
  const int eos[] = {1000, 21};
  ended.eos_ids = eos;
  ended.eos_count = 2;
  generate(model, ended, keep);
  fakeGpu.untilStopped = true;
  generate(model, upTo(model, 0), stopAtThird);
  generate(model, upTo(model, 5), throwing);
  generate(model, upTo(model, 5), generatesAgain);
  fakeGpu.untilStopped = false;
  for (FakeGpu::Mode mode : {FakeGpu::watchdog, FakeGpu::badToken, FakeGpu::fault}) {
    fakeGpu.mode = mode;
    generate(model, upTo(model, 5), keep);
  }
  fakeGpu.mode = FakeGpu::decoding;
  generate(model, upTo(model, 1), nullptr);
}

void refusals(mpk_model* model) {
  const auto refused = [&](mpk_options options, const int* prompt, int count) {
    mpk_error error;
    const mpk_code code = mpk_generate(model, prompt, count, &options, keep, nullptr, &error);
    std::printf("%d %s\n", code, error.message);
  };
  const auto with = [&](void (*change)(mpk_options&)) {
    mpk_options options = upTo(model, 4);
    change(options);
    refused(options, kPrompt, 5);
  };
  with([](mpk_options& o) { o.max_tokens = -1; });
  with([](mpk_options& o) { o.temperature = -1.0f; });
  with([](mpk_options& o) { o.top_k = -2; });
  with([](mpk_options& o) { o.top_p = 0.0; });
  with([](mpk_options& o) { o.eos_count = 9; });
  with([](mpk_options& o) { o.eos_ids = nullptr; });
  const int outside[] = {1, 1000};
  const std::vector<int> tooLong(static_cast<size_t>(mpk_max_context()), 1);
  refused(upTo(model, 1), outside, 2);
  refused(upTo(model, 1), kPrompt, 0);
  refused(upTo(model, 1), tooLong.data(), mpk_max_context());
}

// Every CUDA call fails once: an error comes out, and nothing stays allocated.
void faults(const char* dir) {
  mpk_error error;
  int opens = 0, generations = 0, silent = 0, leaks = 0;
  for (long failAt = 1;; failAt++) {
    fakeGpu.calls = 0;
    fakeGpu.failAt = failAt;
    mpk_model* model = mpk_open(dir, &error);
    bool failed = model == nullptr;
    if (failed) opens++;
    if (model != nullptr) {
      std::vector<float> logits(static_cast<size_t>(mpk_vocab()));
      mpk_u64 nanos[2];
      mpk_options options = upTo(model, 2);
      options.last_logits = logits.data();
      options.step_end_nanos = nanos;
      options.step_capacity = 2;
      failed = mpk_generate(model, kPrompt, 5, &options, keep, nullptr, &error) != MPK_OK;
      if (failed) generations++;
      const bool done = fakeGpu.calls < failAt;
      fakeGpu.failAt = 0;
      if (failed && mpk_generate(model, kPrompt, 5, nullptr, keep, nullptr, nullptr) != MPK_OK) {
        std::printf("unusable after %ld\n", failAt);
      }
      mpk_close(model);
      if (done) break;
    }
    if (!failed || error.code == MPK_OK || !std::strstr(error.message, "made to fail")) silent++;
    if (fakeGpu.live != 0) leaks++;
    fakeGpu.live = 0;
  }
  std::printf("opens %d generations %d silent %d leaks %d\n", opens, generations, silent, leaks);
}

// A kernel that never ends: told in time, and neither a second request nor closing waits for it.
void lost(const char* dir) {
  alarm(30);
  const auto meet = [&](FakeGpu::Mode mode, mpk_token_callback callback) {
    mpk_error error;
    mpk_model* model = mpk_open(dir, &error);
    fakeGpu.mode = mode;
    mpk_options options = upTo(model, 5);
    options.lost_millis = 200;
    generate(model, options, callback);
    generate(model, upTo(model, 5), keep);
    mpk_close(model);
    std::printf("freed %ld\n", fakeGpu.freedBusy);
    fakeGpu.mode = FakeGpu::decoding;
    endStuckKernel();
  };
  meet(FakeGpu::stuck, keep);
  meet(FakeGpu::deaf, keep);
  meet(FakeGpu::stuck, throwing);
  meet(FakeGpu::decoding, nullptr);
  std::fflush(stdout);
  _Exit(0);  // what was left alone is no leak
}

// GPUs that do not fit.
void misfits(const char* dir) {
  const FakeGpu good = fakeGpu;
  const auto open = [&](void (*change)(FakeGpu&)) {
    fakeGpu = good;
    change(fakeGpu);
    mpk_error error;
    mpk_model* model = mpk_open(dir, &error);
    std::printf("%s %d %s\n", model ? "opened" : "refused", error.code, error.message);
    mpk_close(model);
    if (fakeGpu.live != 0) std::printf("leak\n");
  };
  open([](FakeGpu& gpu) { gpu.minor = 1; });
  open([](FakeGpu& gpu) { gpu.major = 8; });
  open([](FakeGpu& gpu) { gpu.sms = 1; });
  open([](FakeGpu& gpu) { gpu.freeBytes = 64 << 20; });
  open([](FakeGpu&) {});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string scenario = argc == 3 ? argv[1] : "";
  if (scenario == "faults") return faults(argv[2]), 0;
  if (scenario == "misfits") return misfits(argv[2]), 0;
  if (scenario == "lost") return lost(argv[2]), 0;
  mpk_error error;
  mpk_model* model = mpk_open(argv[2], &error);
  if (model == nullptr) {
    std::printf("open %d %s\n", error.code, error.message);
    return 1;
  }
  if (scenario == "outputs") outputs(model);
  if (scenario == "endings") endings(model);
  if (scenario == "refusals") refusals(model);
  mpk_close(model);
  std::printf("live %ld\n", fakeGpu.live);
  return 0;
}
