// What a benchmark sends: prompts and output lengths, the same for the same seed.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quire {

struct DatasetFlags {
  std::string name = "random";  // random, lengths, jsonl
  std::string path = {};        // of lengths and jsonl
  int num_prompts = 0;
  int random_input_len = 1024;
  int random_output_len = 128;
  double random_range_ratio = 0;  // lengths are uniform in [len * (1 - r), len * (1 + r)]
  int random_prefix_len = 0;      // tokens that all prompts begin with, beside the input length
  uint64_t seed = 0;
};

// vLLM's names.  `flags` outlives `app`.
void add_dataset_flags(CLI::App& app, DatasetFlags& flags);

struct BenchPrompt {
  std::string text;                // empty if token_ids are given
  std::vector<int32_t> token_ids;  // empty if text is given
  int num_prompt_tokens = 0;       // as far as known; the server's usage overrides it
  int num_output_tokens = 0;
};

struct PromptLength {
  int num_prompt_tokens = 0;
  int num_output_tokens = 0;
};

// The lengths the flags describe (random, or a TSV of prompt_tokens and output_tokens).
// Throws LoadError on a malformed file.
std::vector<PromptLength> make_lengths(const DatasetFlags& flags);

// Random token ids below vocab_size, for an engine or a server that takes ids.
std::vector<BenchPrompt> make_token_prompts(const DatasetFlags& flags, int vocab_size);

// Text prompts.  With a tokenizer their length is exact up to what re-encoding changes; without one
// they are common English words, about one token each.  jsonl: "prompt" of each line, and its
// "output_tokens".
std::vector<BenchPrompt> make_text_prompts(const DatasetFlags& flags, const Tokenizer* tokenizer);

// Seconds from the start at which each request is sent: gamma-distributed gaps with mean 1 / rate
// and shape `burstiness` (1 = Poisson), scaled so that the last falls on count / rate, as vLLM
// does. A rate of 0 or infinity: all at 0.
struct ArrivalOptions {
  double request_rate = 0;
  double burstiness = 1;
  uint64_t seed = 0;
};
std::vector<double> arrival_times(int count, const ArrivalOptions& options);

}  // namespace quire
