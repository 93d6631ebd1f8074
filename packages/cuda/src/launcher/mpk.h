/*
 * Generates tokens with one compiled model, without Node. Plain C (C89 and later), C++ too.
 *
 * Link kernel.cu, mpk_launcher.cpp and mpk_model.cpp into the program (example_main.cpp names the
 * commands). One program or shared library holds one model: its kernels and tables are global.
 *
 * Threads: functions on different models may run at the same time; on one model only one function
 * at a time (a second mpk_generate is refused, not queued). No function changes the calling
 * thread's current CUDA device. The token callback runs on the thread that called mpk_generate.
 *
 * Weights are read through mmap: do not write to the checkpoint's files while mpk_open runs.
 */
#ifndef MPK_H
#define MPK_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
__extension__ typedef unsigned long long mpk_u64;
#else
typedef unsigned long long mpk_u64;
#endif

typedef enum mpk_code {
  MPK_OK = 0,
  /* A file, tensor, token id or option is wrong; the message names it. */
  MPK_ERROR_INPUT = 1,
  /* No GPU, an old driver, or a GPU that the kernel was not compiled for. */
  MPK_ERROR_ENVIRONMENT = 2,
  /* Host or GPU memory does not suffice; the model stays usable. */
  MPK_ERROR_MEMORY = 3,
  /* The kernel gave up (watchdog) or ended wrongly; the model stays usable. */
  MPK_ERROR_KERNEL = 4,
  /* A CUDA call failed. After a fault on the GPU the process has to start anew. */
  MPK_ERROR_CUDA = 5,
  /* The model is generating already. */
  MPK_ERROR_BUSY = 6,
  /* The GPU stopped answering. Nothing of the model is freed, mpk_close does nothing: to free anything
   * would wait for a kernel that never ends. End the process by _Exit, which waits for nothing. */
  MPK_ERROR_LOST = 7
} mpk_code;

/* Filled by every function that takes one, also with MPK_OK; the caller owns it. May be NULL. */
typedef struct mpk_error {
  mpk_code code;
  /* UTF-8, zero-terminated, cut where it does not fit; empty with MPK_OK. */
  char message[1024];
} mpk_error;

/* A model with its weights on a GPU. */
typedef struct mpk_model mpk_model;

/* Vocabulary size: token ids are 0 .. mpk_vocab() - 1. Known without a model. */
int mpk_vocab(void);

/* Positions that the KV cache holds: prompt and generated tokens together. */
int mpk_max_context(void);

/* Prompt tokens that one step processes. */
int mpk_prompt_chunk(void);

/*
 * Reads a Hugging Face checkpoint directory (model.safetensors, or model.safetensors.index.json and
 * its shards; BF16, F16 or F32) and packs its weights on the calling thread's current CUDA device.
 * Takes seconds for large models. Nothing in the directory is needed afterwards.
 * Returns NULL on failure, with nothing left allocated.
 */
mpk_model* mpk_open(const char* checkpoint_dir, mpk_error* error);

/* Frees all that the model holds. NULL is allowed. Not while mpk_generate runs on it. */
void mpk_close(mpk_model* model);

typedef enum mpk_finish {
  MPK_FINISH_MAX_TOKENS = 1,
  MPK_FINISH_EOS = 2,
  /* The callback asked for it. */
  MPK_FINISH_STOPPED = 3,
  MPK_FINISH_CONTEXT_FULL = 4
} mpk_finish;

typedef struct mpk_summary {
  mpk_finish finish;
  /* Tokens generated; an EOS token counts and is handed out. */
  int tokens;
  /* Passes over the model: ceil(prompt_count / mpk_prompt_chunk()) + tokens - 1. */
  int steps;
  /* Of the one launch, by CUDA events. */
  double kernel_millis;
} mpk_summary;

/* Get it from mpk_default_options, then change fields. */
typedef struct mpk_options {
  /* Tokens to generate at most; 0: until EOS or the end of the context. */
  int max_tokens;
  /* 0: the likeliest token each time. */
  float temperature;
  /* Only the top_k likeliest tokens are drawn from; 0: off. */
  int top_k;
  /* Only the likeliest tokens that make up this much probability; 1: off. In (0, 1]. */
  double top_p;
  /* The same seed and prompt give the same tokens. */
  mpk_u64 seed;
  /* Ids that end the generation; at most 8. The caller's memory, read during mpk_generate. */
  const int* eos_ids;
  int eos_count;
  /* A wait inside the kernel longer than this ends it with MPK_ERROR_KERNEL; 0: the
   * model's own bound, 1.2 seconds and 10 microseconds a token of a step and position. */
  mpk_u64 watchdog_nanos;
  /* A kernel that has begun and then makes no step for this long, nor ends, although its own watchdog
   * should have ended it, is given up with MPK_ERROR_LOST; 0: the model's own bound, 5 seconds or more. */
  mpk_u64 lost_millis;

  /* Outputs; the caller's memory, each may be NULL. Valid once mpk_generate returned MPK_OK. */

  /*
   * [mpk_vocab()]: the logits after the last prompt token. Costs GPU memory during the call:
   * 4 bytes * mpk_vocab() * ceil(prompt_count / mpk_prompt_chunk()).
   */
  float* last_logits;
  /* [step_capacity]: the GPU's clock at the end of each step; differences are step times. */
  mpk_u64* step_end_nanos;
  int step_capacity;
  mpk_summary* summary;
} mpk_options;

/*
 * Greedy, until the checkpoint's own EOS (generation_config.json, else config.json) or the end of
 * the context. eos_ids belongs to the model: valid until mpk_close. NULL gives no EOS ids.
 */
mpk_options mpk_default_options(const mpk_model* model);

/*
 * Gets each token as soon as the kernel has made it, the first about one prompt's time after the
 * call. Non-zero ends the generation after the kernel's current step; later tokens are not handed
 * out. Must not call functions on the same model.
 */
typedef int (*mpk_token_callback)(int token, void* user);

/*
 * Generates tokens after a prompt that starts at position 0, in one launch; returns when it ended.
 * `callback` and `options` (the defaults) may be NULL. Can be called again with other prompts.
 * Returns error->code. On failure, tokens handed out before it are valid, the outputs are not.
 */
mpk_code mpk_generate(mpk_model* model, const int* prompt, int prompt_count,
                      const mpk_options* options, mpk_token_callback callback, void* user,
                      mpk_error* error);

#ifdef __cplusplus
}
#endif

#endif
