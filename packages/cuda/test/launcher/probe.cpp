// Generates through mpk.h on a real GPU. Arguments: checkpoint folder, prompt ids. Prints JSON.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "mpk.h"

namespace {

std::vector<int> tokens;
size_t stopAfter = 0;

int keep(int token, void*) {
  tokens.push_back(token);
  return tokens.size() == stopAfter;
}

void fail(const mpk_error& error) {
  std::fprintf(stderr, "%d %s\n", error.code, error.message);
  std::exit(1);
}

template <class T> void printList(const char* name, const std::vector<T>& list) {
  std::printf("\"%s\":[", name);
  for (size_t i = 0; i < list.size(); i++) {
    std::printf("%s%.9g", i ? "," : "", static_cast<double>(list[i]));
  }
  std::printf("],\n");
}

}  // namespace

int main(int argc, char** argv) {
  mpk_error error;
  mpk_model* model = mpk_open(argv[1], &error);
  if (model == nullptr) fail(error);
  std::vector<int> prompt;
  for (int i = 2; i < argc; i++) prompt.push_back(std::atoi(argv[i]));
  std::vector<float> logits(static_cast<size_t>(mpk_vocab()));
  std::vector<mpk_u64> nanos(400, 0);
  mpk_summary summary;
  const auto generate = [&](const char* name, mpk_options options) {
    tokens.clear();
    options.summary = &summary;
    const int count = static_cast<int>(prompt.size());
    if (mpk_generate(model, prompt.data(), count, &options, keep, nullptr, &error) != MPK_OK) {
      fail(error);
    }
    printList(name, tokens);
  };
  mpk_options options = mpk_default_options(model);
  options.max_tokens = 200;
  std::printf("{");
  generate("again", options);
  options.last_logits = logits.data();
  options.step_end_nanos = nanos.data();
  options.step_capacity = static_cast<int>(nanos.size());
  generate("greedy", options);
  printList("logits", logits);
  std::vector<mpk_u64> steps;
  for (int i = 1; i < summary.steps; i++) {
    steps.push_back(nanos[static_cast<size_t>(i)] - nanos[static_cast<size_t>(i) - 1]);
  }
  printList("stepNanos", steps);
  std::printf("\"kernelMillis\":%g,\"steps\":%d,", summary.kernel_millis, summary.steps);
  options = mpk_default_options(model);
  options.max_tokens = 32;
  options.temperature = 1.0f;
  options.seed = 7;
  generate("sampled", options);
  generate("sampledAgain", options);
  options = mpk_default_options(model);
  stopAfter = 3;
  generate("stopped", options);
  std::printf("\"finish\":%d}\n", summary.finish);
  mpk_close(model);
}
