// PEFT adapters of random bf16 numbers for benchmarks, in a temporary folder.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/adapter_registry.h"

namespace quire {

struct MadeAdaptersOptions {
  int count = 1;
  std::vector<int> ranks = {16};     // adapter i has ranks[i % size]
  std::vector<std::string> modules;  // last part of their names; empty: all but the head
};

// Adapters of one rank share a file of weights and differ in their alpha, so that each is one of
// its own to the engine, while making thousands of them takes seconds.
class MadeAdapters {
 public:
  // Throws LoadError if the folder cannot be written.
  MadeAdapters(std::span<const LoraTarget> targets, const MadeAdaptersOptions& options);
  ~MadeAdapters();  // removes the folder
  MadeAdapters(const MadeAdapters&) = delete;
  MadeAdapters& operator=(const MadeAdapters&) = delete;

  int count() const { return count_; }
  std::string name(int i) const { return "adapter-" + std::to_string(i); }
  std::string path(int i) const { return folder_ + "/" + name(i); }

 private:
  std::string folder_;
  int count_;
};

}  // namespace quire
