// The runs of quire compare-adapters: every prompt through the base model and through adapters, all
// at once; then again for the distributions of the first token; then one by one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/compare/prompts.h"
#include "cli/local_model.h"
#include "engine/lora_adapter.h"
#include "quire/outputs.h"

namespace quire {

// Who answers.  The first column is the base model.
struct CompareColumn {
  std::string name;
  std::string path;                                      // of the adapter
  int rank = 0;                                          // the largest it has
  int64_t weight_bytes = 0;                              // in the engine's dtype
  int64_t arena_bytes = 0;                               // that these take of the KV cache's arena
  double read_s = 0;                                     // from disk, with all checks
  std::shared_ptr<const LoraAdapter> adapter = nullptr;  // null: the base model
};

struct CompareAnswer {
  std::string text;
  std::vector<int32_t> token_ids;  // with the one that ended it
  double sum_logprob = 0;          // of all of them, by the model's own distribution
  FinishReason finish_reason = FinishReason::kLength;
  int num_cached_tokens = 0;  // of the prompt
  double ttft_s = 0;          // since it was submitted
  double decode_s = 0;        // from the first token to the last

  std::optional<double> tokens_per_second() const;  // after the first; none without a second
};

// What one column says to one prompt.
struct CompareCell {
  CompareAnswer together;     // among all requests at once
  CompareAnswer alone;        // by itself, nothing of it in the prefix cache
  double kl_to_base = 0;      // KL(column || base), nats, of the token at position 0
  int num_cached_tokens = 0;  // of the prompt, asked once more after `together`
};

struct CompareResult {
  std::vector<CompareColumn> columns;
  std::vector<ComparePrompt> prompts;
  std::vector<std::vector<CompareCell>> cells;  // [prompt][column]
};

// Reads the adapters, timed.  Throws LoadError naming the adapter.
std::vector<CompareColumn> read_compare_columns(const std::vector<LoraModule>& adapters,
                                                const LocalModel& model);

// Throws LoadError naming prompt and column if a request cannot be run.
CompareResult run_comparison(const LocalModel& model, std::vector<CompareColumn> columns,
                             std::vector<ComparePrompt> prompts);

}  // namespace quire
