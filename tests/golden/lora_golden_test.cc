// Adapters of every kind that PEFT writes, against PEFT itself (tools/dump_lora_goldens.py), on
// every kernel table of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "golden/adapter_in_arena.h"
#include "golden/golden.h"
#include "golden/greedy.h"
#include "golden/tables.h"

namespace quire {
namespace {

const std::string kLoraDir = golden_dir() + "/lora";

// Of relative_error().
constexpr double kRelativeTolerance = 1e-4;
// Only weights, adapters and the KV cache are rounded.
constexpr double kBf16RelativeTolerance = 0.05;
constexpr double kF16RelativeTolerance = 0.01;

// What is refused, and a word that the refusal has.
const std::map<std::string, std::string> kRefused = {
    {"llama_dora", "use_dora"},
    {"llama_embedding", "embed"},
    {"llama_lora_bias", "lora_bias"},
    {"llama_modules_to_save", "modules_to_save"},
    {"llama_trainable_tokens", "trainable_token_indices"},
    {"qwen2_bias_lora_only", "bias"},
};

std::vector<std::string> names(bool refused) {
  std::vector<std::string> result = golden_names(kLoraDir);
  std::erase_if(result,
                [&](const std::string& name) { return kRefused.contains(name) != refused; });
  return result;
}

class LoraGolden : public ::testing::TestWithParam<std::string> {
 protected:
  LoraGolden() : golden(load_golden("lora/" + GetParam())) {}

  std::string adapter_dir() const { return kLoraDir + "/" + GetParam() + "/adapter"; }
  // Calls check(loaded, adapter) on every table.
  template <typename Check>
  void for_each_table(const std::string& dtype, Check check) {
    for (const KernelTable* kernels : golden_tables()) {
      SCOPED_TRACE(kernels->name);
      LoadedGolden loaded(golden, *kernels, dtype);
      AdapterInArena adapter(adapter_dir(), loaded.loaded(), *kernels->device, loaded.stream());
      adapter.set_prompt(golden.tokens("prompt"));
      check(loaded, adapter);
    }
  }
  double error_of(LoadedGolden& loaded, SingleSequence::LoraOfTokens lora,
                  const std::vector<size_t>& chunk_sizes) const {
    const auto prompt = golden.tokens("prompt");
    return relative_error(run(loaded.start(16, std::move(lora)), prompt, chunk_sizes),
                          golden.logits);
  }

  Golden golden;
};

TEST_P(LoraGolden, LogitsMatchInOnePrefillAndTokenByTokenAndInOddChunks) {
  const size_t num_tokens = golden.logits.size();
  for_each_table("float32", [&](LoadedGolden& loaded, AdapterInArena& adapter) {
    EXPECT_LE(error_of(loaded, adapter.lora(), {num_tokens}), kRelativeTolerance);
    EXPECT_LE(error_of(loaded, adapter.lora(), {1}), kRelativeTolerance);
    EXPECT_LE(error_of(loaded, adapter.lora(), {5, 1, 7}), kRelativeTolerance);
  });
}

TEST_P(LoraGolden, TheBaseModelAloneGivesOtherLogits) {
  for_each_table("float32", [&](LoadedGolden& loaded, AdapterInArena&) {
    EXPECT_GT(error_of(loaded, {}, {golden.logits.size()}), 0.1);
  });
}

TEST_P(LoraGolden, GreedyTokensMatch) {
  for_each_table("float32", [&](LoadedGolden& loaded, AdapterInArena& adapter) {
    SingleSequence sequence = loaded.start(16, adapter.lora());
    expect_greedy(sequence, golden.tokens("prompt"), golden.tokens("greedy"), 2e-4);
  });
}

TEST_P(LoraGolden, LogitsAreCloseIn16Bits) {
  const size_t num_tokens = golden.logits.size();
  for_each_table("bfloat16", [&](LoadedGolden& loaded, AdapterInArena& adapter) {
    EXPECT_LE(error_of(loaded, adapter.lora(), {num_tokens}), kBf16RelativeTolerance);
  });
  for_each_table("float16", [&](LoadedGolden& loaded, AdapterInArena& adapter) {
    EXPECT_LE(error_of(loaded, adapter.lora(), {num_tokens}), kF16RelativeTolerance);
  });
}

INSTANTIATE_TEST_SUITE_P(, LoraGolden, ::testing::ValuesIn(names(false)),
                         [](const auto& info) { return info.param; });

class RefusedLoraGolden : public LoraGolden {};

TEST_P(RefusedLoraGolden, IsRefusedByTheNameOfTheField) {
  LoadedGolden loaded(golden, *golden_tables().front(), "float32");
  try {
    const PeftAdapter adapter(adapter_dir(), loaded.loaded().lora_targets, {});
    FAIL() << "the adapter was accepted";
  } catch (const LoadError& error) {
    EXPECT_NE(std::string(error.what()).find(kRefused.at(GetParam())), std::string::npos)
        << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(, RefusedLoraGolden, ::testing::ValuesIn(names(true)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quire
