// PEFT adapters of random bf16 numbers for benchmarks, in a temporary folder.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/adapter_registry.h"

namespace quire {

struct MadeAdaptersOptions {
  std::vector<int> ranks = {16};     // adapter i has ranks[i % size]
  std::vector<std::string> modules;  // last part of their names; empty: all but the head
};

// Adapters of one rank share a file of weights and differ in their alpha, so that each is one of
// its own to the engine, while making thousands of them takes a second.  Names are those of folders
// in folder(), which is a --lora-dir.
class MadeAdapters {
 public:
  // Makes an empty folder.  Throws LoadError.
  explicit MadeAdapters(MadeAdaptersOptions options);
  ~MadeAdapters();  // removes the folder
  MadeAdapters(const MadeAdapters&) = delete;
  MadeAdapters& operator=(const MadeAdapters&) = delete;

  // Writes adapters for a model until there are `count`.  Throws LoadError if one of the modules
  // is not there, or the disk is full.
  void make(std::span<const LoraTarget> targets, int count);

  int count() const { return count_; }
  const std::string& folder() const { return folder_; }
  const std::vector<int>& ranks() const { return options_.ranks; }
  std::string name(int i) const { return "adapter-" + std::to_string(i); }
  std::string path(int i) const { return folder_ + "/" + name(i); }

 private:
  void write_weights_of_all_ranks(std::span<const LoraTarget> targets);
  std::string weights_path(int rank) const;

  MadeAdaptersOptions options_;
  std::string folder_;
  int count_ = 0;
  std::map<int, nlohmann::json> configs_;  // by rank, but for the alpha
};

}  // namespace quire
