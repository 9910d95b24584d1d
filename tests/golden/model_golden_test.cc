// Logits and greedy tokens of tiny random checkpoints against HF Transformers
// (tools/dump_goldens.py), on every kernel table of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "golden/greedy.h"
#include "golden/tables.h"

namespace quire {
namespace {

// Of relative_error().
constexpr double kRelativeTolerance = 1e-4;
// bf16 weights with f32 activations; only the KV cache and the weights are rounded.
constexpr double kBf16RelativeTolerance = 0.05;

class ModelGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(ModelGolden, LogitsMatchInOnePrefill) {
  const Golden golden = load_golden(GetParam());
  for (const KernelTable* kernels : golden_tables()) {
    LoadedGolden loaded(golden, *kernels, "float32");
    const Rows rows = run(loaded.start(), golden.tokens("prompt"), {golden.logits.size()});
    const double error = relative_error(rows, golden.logits);
    RecordProperty(std::string("relative_error_") + kernels->name, std::to_string(error));
    EXPECT_LE(error, kRelativeTolerance) << kernels->name;
  }
}

TEST_P(ModelGolden, LogitsMatchTokenByTokenAndInOddChunks) {
  const Golden golden = load_golden(GetParam());
  for (const KernelTable* kernels : golden_tables()) {
    LoadedGolden loaded(golden, *kernels, "float32");
    const Rows decoded = run(loaded.start(), golden.tokens("prompt"), {1});
    EXPECT_LE(relative_error(decoded, golden.logits), kRelativeTolerance) << kernels->name;
    const Rows chunked = run(loaded.start(32), golden.tokens("prompt"), {7, 1, 13, 3});
    EXPECT_LE(relative_error(chunked, golden.logits), kRelativeTolerance) << kernels->name;
    if (!kernels->device->is_host()) continue;  // sums in another order for another batch
    EXPECT_EQ(run(loaded.start(), golden.tokens("prompt"), {7, 1, 13, 3}), decoded)
        << kernels->name << ": logits depend on the chunking";
  }
}

TEST_P(ModelGolden, GreedyTokensMatch) {
  const Golden golden = load_golden(GetParam());
  if (!golden.json.contains("greedy")) return;  // HF's frequencies change with every token
  for (const KernelTable* kernels : golden_tables()) {
    SCOPED_TRACE(kernels->name);
    LoadedGolden loaded(golden, *kernels, "float32");
    SingleSequence sequence = loaded.start();
    expect_greedy(sequence, golden.tokens("prompt"), golden.tokens("greedy"), 2e-4);
  }
}

// HF's bf16 rounds every activation; quire's does not.  bf16_error is how far HF's bf16 logits are
// from its fp32 ones on these tokens, so a token within twice that may be the best to either.
TEST_P(ModelGolden, Bf16GreedyTokensMatchOrNearlyTie) {
  const Golden golden = load_golden(GetParam());
  if (!golden.json.contains("greedy_bf16")) return;
  for (const KernelTable* kernels : golden_tables()) {
    SCOPED_TRACE(kernels->name);
    LoadedGolden loaded(golden, *kernels, "bfloat16");
    const double near_tie = 2.0 * golden.json.at("bf16_error").get<double>();
    SingleSequence sequence = loaded.start();
    expect_greedy(sequence, golden.tokens("prompt"), golden.tokens("greedy_bf16"), near_tie);
    const Rows rows = run(loaded.start(), golden.tokens("prompt"), {golden.logits.size()});
    EXPECT_LE(relative_error(rows, golden.logits), kBf16RelativeTolerance);
  }
}

TEST_P(ModelGolden, F16LogitsAreClose) {
  const Golden golden = load_golden(GetParam());
  for (const KernelTable* kernels : golden_tables()) {
    LoadedGolden loaded(golden, *kernels, "float16");
    const Rows rows = run(loaded.start(), golden.tokens("prompt"), {golden.logits.size()});
    EXPECT_LE(relative_error(rows, golden.logits), 0.01) << kernels->name;
  }
}

INSTANTIATE_TEST_SUITE_P(, ModelGolden, ::testing::ValuesIn(golden_names(golden_dir())),
                         [](const auto& info) { return info.param; });

TEST(ModelGoldens, CoverEveryArchitecture) {
  std::vector<std::string> covered;
  for (const std::string& name : golden_names(golden_dir())) {
    covered.push_back(
        load_golden(name).json.at("config").at("architectures").at(0).get<std::string>());
  }
  for (const std::string& architecture : supported_architectures()) {
    EXPECT_NE(std::ranges::find(covered, architecture), covered.end()) << architecture;
  }
}

}  // namespace
}  // namespace quire
