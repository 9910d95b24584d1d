// The loop of quire generate: prompts from a file through an engine into a ResultStore.
#pragma once

#include <atomic>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "cli/local_model.h"
#include "cli/progress_bar.h"
#include "cli/prompt_file.h"
#include "cli/request_pool.h"
#include "cli/result_store.h"

namespace quire {

struct GenerateOptions {
  std::string input;
  BadLines bad_lines = BadLines::kRefuse;
  SamplingParams params;      // of prompts that say nothing else
  std::string lora;           // likewise: the adapter's name; empty = the base model
  std::string model;          // what the base model is called by lines that name a model
  uint64_t seed = 0;          // each prompt's own seed follows from it and the prompt's index
  int64_t max_in_flight = 0;  // sequences; bounds memory and the work a crash loses
};

struct GenerateCounts {
  int64_t num_results = 0;  // of this run
  int64_t num_generated_tokens = 0;
  bool interrupted = false;
};

class GenerateRun {
 public:
  // All references outlive this object.
  GenerateRun(const GenerateOptions& options, const LocalModel& model, ResultStore& store);

  // Runs what the store does not have yet, until the end of the input or `interrupted`.
  // Throws LoadError on a bad line (unless skipped) once what was in flight is stored, and when the
  // engine fails.
  GenerateCounts run(const std::atomic<bool>& interrupted, ProgressBar& progress);

 private:
  struct Pending {
    int64_t index = 0;
    nlohmann::json id;
    std::string prompt;
    std::string lora;
    std::vector<CompletionOutput> outputs;  // by completion index
    std::vector<int> num_tokens;
  };

  bool submit_next();
  // The name of the line's adapter; empty = the base model.
  std::string adapter_of(const PromptLine& line) const;
  Expected<PromptInput, std::string> make_input(const PromptLine& line, int64_t index) const;
  void reject(const PromptReader::Line& line, const std::string& reason);
  void take(const RequestPool::Event& event);
  void store_result(const Pending& pending, const RequestPool::Event& last);

  const GenerateOptions& options_;
  const LocalModel& model_;
  ResultStore& store_;
  PromptReader reader_;
  RequestPool pool_;
  std::unordered_map<RequestPool::Ticket, Pending> pending_;
  GenerateCounts counts_;
  std::string first_error_;  // ends the run once nothing is in flight
};

}  // namespace quire
