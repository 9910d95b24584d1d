// The adapters of a simulation: a few names whose content changes when they are reloaded.
#pragma once

#include <optional>
#include <vector>

#include "scheduler/request.h"
#include "simulation/random.h"

namespace quire {

// The engine's is not linked.  As the scheduler passes weights on unseen, this one need only tell
// adapters and their pages apart.
class LoraAdapter {
 public:
  LoraAdapter(const AdapterExtent& extent, const BlockHash& content)
      : extent_(extent), identity_(simulation::mix(content.low + simulation::mix(content.high))) {}

  const AdapterExtent& extent() const { return extent_; }
  uint64_t identity() const { return identity_; }  // of its content
  int num_pages() const { return extent_.num_blocks * kPagesPerBlock + extent_.tail_pages; }
  // What is to be read in each of its pages.
  uint64_t page(int index) const { return identity_ + static_cast<uint64_t>(index); }

 private:
  AdapterExtent extent_;
  uint64_t identity_;
};

}  // namespace quire

namespace quire::simulation {

class Adapters {
 public:
  // No adapter takes more than `max_blocks` + 1 blocks.
  Adapters(int num_names, int max_blocks) : names_(num_names), max_blocks_(max_blocks) {}

  // The present generation of some name, or none.  Often one of them is reloaded before.
  std::optional<RequestAdapter> draw(Random& random, int num_prompt_tokens);

 private:
  struct Name {
    std::optional<RequestAdapter> generation;
    bool is_activated = false;  // by tokens of the prompt: it does not act on those before
    int first_token = 0;        // where they are, often
    uint64_t num_contents = 0;
  };

  void reload(Random& random, Name& name);

  std::vector<Name> names_;
  int max_blocks_;
  std::vector<RequestAdapter> generations_;  // of all names
};

}  // namespace quire::simulation
