// The functions of mpk.h.
#include "mpk_generation.hpp"

namespace {

using namespace mpk;

// Ends the `busy` state of a model with the scope.
class Busy {
 public:
  explicit Busy(mpk_model& model) : model_(model) {
    if (!model.busy.test_and_set()) return;
    throw Failure{MPK_ERROR_BUSY, "the model is generating already; wait, or open a second one"};
  }
  ~Busy() { model_.busy.clear(); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  mpk_model& model_;
};

void report(mpk_error* error, mpk_code code, const char* message) {
  if (error == nullptr) return;
  error->code = code;
  std::snprintf(error->message, sizeof error->message, "%s", message);
}

// Runs `work`; no exception leaves.
template <class Work> mpk_code guarded(mpk_error* error, const Work& work) noexcept {
  mpk_code code = MPK_OK;
  try {
    report(error, MPK_OK, "");
    work();
  } catch (const Failure& failure) {
    report(error, code = failure.code, failure.message.c_str());
  } catch (const std::bad_alloc&) {
    report(error, code = MPK_ERROR_MEMORY, "out of host memory");
  } catch (const std::exception& exception) {
    report(error, code = MPK_ERROR_INPUT, exception.what());
  } catch (...) {
    report(error, code = MPK_ERROR_INPUT, "the token callback threw an unknown exception");
  }
  return code;
}

}  // namespace

int mpk_vocab(void) { return static_cast<int>(kModel.vocab); }
int mpk_max_context(void) { return static_cast<int>(kModel.maxContext); }
int mpk_prompt_chunk(void) { return static_cast<int>(kModel.maxTokens); }

mpk_model* mpk_open(const char* checkpoint_dir, mpk_error* error) {
  std::unique_ptr<mpk_model> model;
  guarded(error, [&] {
    if (checkpoint_dir == nullptr) failInput("checkpoint_dir is NULL");
    const Checkpoint checkpoint(checkpoint_dir);
    checkWeights(kModel, checkpoint);
    int device = 0;
    check(cudaGetDevice(&device), "looking for a GPU");
    const DeviceScope scope(device);
    checkTarget(kModel, device);
    checkMemory(kModel);
    std::unique_ptr<mpk_model> loading(new mpk_model);
    loading->device = device;
    loading->load(kModel, checkpoint);
    model = std::move(loading);
  });
  return model.release();
}

void mpk_close(mpk_model* model) {
  if (model == nullptr || model->lost) return;
  std::unique_ptr<mpk_model> closing(model);
  guarded(nullptr, [&] {
    const DeviceScope scope(model->device);
    closing.reset();
  });
}

mpk_options mpk_default_options(const mpk_model* model) {
  mpk_options options = {};
  options.top_p = 1.0;
  if (model != nullptr) {
    options.eos_ids = model->eosIds.data();
    options.eos_count = static_cast<int>(model->eosIds.size());
  }
  return options;
}

mpk_code mpk_generate(mpk_model* model, const int* prompt, int prompt_count,
                      const mpk_options* options, mpk_token_callback callback, void* user,
                      mpk_error* error) {
  return guarded(error, [&] {
    if (model == nullptr) failInput("model is NULL");
    const mpk_options chosen = options ? *options : mpk_default_options(model);
    checkOptions(chosen);
    checkPrompt(prompt, prompt_count);
    const Busy busy(*model);
    if (model->lost) {
      throw Failure{MPK_ERROR_LOST, "the GPU stopped answering in a generation before this one; end this "
                                    "process, which frees the GPU"};
    }
    const DeviceScope scope(model->device);
    Generation generation(kModel, *model, chosen, prompt_count);
    generation.launch(prompt);
    generation.follow(callback, user);
    generation.finish();
  });
}
