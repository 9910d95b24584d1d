// What quire compare-adapters has found: the numbers that its texts and its JSON share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/compare/run.h"
#include "engine/engine_client.h"

namespace quire {

// What should not be.
struct CompareVerdict {
  // A request that gave other tokens by itself than among the others.
  struct Difference {
    size_t prompt = 0;
    size_t column = 0;
    size_t token = 0;  // the first that differs
  };
  // An adapter that changed no answer.
  struct EqualToBase {
    size_t column = 0;
    bool is_applied = false;  // the first token's probabilities are not the base model's
  };
  std::vector<Difference> differences;
  std::vector<EqualToBase> equal_to_base;
};

CompareVerdict judge(const CompareResult& result);

struct CompareReport {
  CompareResult result;
  CompareVerdict verdict;
  EngineInfo engine;
  std::string model;           // as it was asked for
  bool chat_template = false;  // texts were put into it
  std::string system;
  nlohmann::json sampling;  // as it was asked for
  uint64_t seed = 0;
};

// Where a column's answer leaves the base model's.
std::optional<size_t> divergence(const CompareCell& cell, const CompareCell& base);

// Of one column over some prompts: sums of tokens, means of the others.
struct CompareMetrics {
  size_t num_tokens = 0;
  double ttft_ms = 0;
  double ttft_alone_ms = 0;
  std::optional<double> tokens_per_second;
  std::optional<double> tokens_per_second_alone;
  double mean_logprob = 0;
  double kl_to_base = 0;
  size_t num_equal = 0;  // answers that are the base model's
};

// Of each column, over the prompts from `first` to before `last`.
std::vector<CompareMetrics> metrics_of(const CompareResult& result, size_t first, size_t last);

// Prompt tokens found in the prefix cache, and how many could have been.
struct CompareCacheHits {
  int64_t num_prompt_tokens = 0;
  int64_t together = 0;
  int64_t again = 0;
  int64_t whole_blocks = 0;  // of prompts, without their last token, which is always computed
};

CompareCacheHits cache_hits(const CompareReport& report);

int64_t sum_arena_bytes(const CompareResult& result);

}  // namespace quire
