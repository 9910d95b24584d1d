#include "simulation/adapters.h"

#include <algorithm>
#include <memory>

namespace quire::simulation {

std::optional<RequestAdapter> Adapters::draw(Random& random, int num_prompt_tokens) {
  if (names_.empty() || random.one_in(4)) {
    return std::nullopt;
  }
  const int last = static_cast<int>(names_.size()) - 1;
  Name& name = names_[static_cast<size_t>(random.between(0, random.between(0, last)))];
  if (!name.generation.has_value() || random.one_in(16)) {
    reload(random, name);
  }
  RequestAdapter adapter = *name.generation;
  if (name.is_activated) {
    adapter.first_token = random.one_in(2) ? random.between(0, num_prompt_tokens - 1)
                                           : std::min(name.first_token, num_prompt_tokens - 1);
  }
  return adapter;
}

// Mostly to new content, else to one that there has been, under this or another name.
void Adapters::reload(Random& random, Name& name) {
  RequestAdapter generation;
  if (!generations_.empty() && random.one_in(4)) {
    generation = generations_[random.next() % generations_.size()];
  } else {
    AdapterExtent& extent = generation.extent;
    extent.id = generations_.size();
    extent.num_blocks = random.one_in(2) ? 0 : random.between(1, max_blocks_);
    extent.tail_pages =
        random.one_in(4) ? 0 : random.between(1, random.one_in(2) ? 4 : kPagesPerBlock - 1);
    if (extent.num_blocks + extent.tail_pages == 0) {
      extent.tail_pages = 1;
    }
    // Neither half tells two generations apart, nor two names.
    generation.content = {.low = static_cast<uint64_t>(&name - names_.data()) + 1,
                          .high = ++name.num_contents};
    generations_.push_back(generation);
  }
  // Equal content need not be the same object.
  generation.weights = std::make_shared<const LoraAdapter>(generation.extent, generation.content);
  name.generation = std::move(generation);
  name.is_activated = random.one_in(3);
  name.first_token = random.between(0, 24);
}

}  // namespace quire::simulation
