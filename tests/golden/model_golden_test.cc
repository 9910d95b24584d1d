// Logits and greedy tokens of tiny random checkpoints against HF Transformers
// (tools/dump_goldens.py), on every kernel table of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "golden/greedy.h"
#include "golden/tables.h"
#include "models/model.h"
#include "support/single_sequence.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using Rows = std::vector<std::vector<float>>;

const std::string kGoldenDir = std::string(QUIRE_SOURCE_DIR) + "/tests/golden";

// Of the greatest difference to the greatest reference value.
constexpr double kRelativeTolerance = 1e-4;
// bf16 weights with f32 activations; only the KV cache and the weights are rounded.
constexpr double kBf16RelativeTolerance = 0.05;

struct Golden {
  std::string name;
  nlohmann::json json = {};
  Rows logits = {};  // of each prompt token, fp32

  std::vector<int32_t> tokens(const char* key) const {
    return json.at(key).get<std::vector<int32_t>>();
  }
};

Golden load_golden(const std::string& name) {
  Golden golden{.name = name};
  std::ifstream(kGoldenDir + "/" + name + "/golden.json") >> golden.json;
  const SafetensorsFile file(kGoldenDir + "/" + name + "/logits.safetensors");
  const TensorView logits = file.view("logits");
  const auto columns = static_cast<size_t>(logits.shape[1]);
  for (int64_t i = 0; i < logits.rows(); ++i) {
    std::vector<float>& row = golden.logits.emplace_back(columns);
    std::memcpy(row.data(), logits.rows_view(i, 1).data, columns * sizeof(float));
  }
  return golden;
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenDir)) {
    if (std::filesystem::exists(entry.path() / "golden.json"))
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// The golden's checkpoint under the golden's configuration, on one table.
class LoadedGolden {
 public:
  LoadedGolden(const Golden& golden, const KernelTable& kernels, const std::string& dtype)
      : pool_({.num_threads = 2, .pin_threads = false}),
        stream_(pool_, *kernels.device),
        kernels_(kernels) {
    const TempDir directory;
    directory.link_all(kGoldenDir + "/checkpoints/" +
                       golden.json.at("checkpoint").get<std::string>());
    directory.write("config.json", golden.json.at("config").dump());
    loaded_ = load_model(load_model_config(directory.path()),
                         {.directory = directory.path(),
                          .dtype = dtype,
                          .max_model_len = golden.json.at("max_model_len").get<int>()},
                         kernels, stream_);
  }
  SingleSequence start(int block_size = 16) {
    return SingleSequence(
        *loaded_.model, kernels_, stream_,
        {.cache_dtype = loaded_.dtype, .block_size = block_size, .max_tokens = 64});
  }

 private:
  ThreadPool pool_;
  Stream stream_;
  const KernelTable& kernels_;
  LoadedModel loaded_;
};

// Feeds `tokens` in chunks of these sizes, over and over.
Rows run(SingleSequence sequence, const std::vector<int32_t>& tokens,
         const std::vector<size_t>& chunk_sizes) {
  Rows rows;
  for (size_t begin = 0, i = 0; begin < tokens.size(); ++i) {
    const size_t count = std::min(chunk_sizes[i % chunk_sizes.size()], tokens.size() - begin);
    for (auto& row : sequence.append(std::span(tokens).subspan(begin, count)))
      rows.push_back(std::move(row));
    begin += count;
  }
  return rows;
}

double relative_error(const Rows& actual, const Rows& expected) {
  double difference = 0.0;
  double magnitude = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    for (size_t j = 0; j < expected[i].size(); ++j) {
      const double delta = std::abs(double{actual[i][j]} - expected[i][j]);
      if (std::isnan(delta)) return delta;
      difference = std::max(difference, delta);
      magnitude = std::max(magnitude, std::abs(double{expected[i][j]}));
    }
  }
  return difference / magnitude;
}

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

INSTANTIATE_TEST_SUITE_P(, ModelGolden, ::testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

TEST(ModelGoldens, CoverEveryArchitecture) {
  std::vector<std::string> covered;
  for (const std::string& name : golden_names()) {
    covered.push_back(
        load_golden(name).json.at("config").at("architectures").at(0).get<std::string>());
  }
  for (const std::string& architecture : supported_architectures()) {
    EXPECT_NE(std::ranges::find(covered, architecture), covered.end()) << architecture;
  }
}

}  // namespace
}  // namespace quire
