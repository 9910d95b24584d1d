// Goldens: what HF Transformers computes with tiny random checkpoints (tools/dump_goldens.py), and
// the models that are to compute the same.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"
#include "models/model.h"
#include "support/single_sequence.h"
#include "support/temp_dir.h"

namespace quire {

using Rows = std::vector<std::vector<float>>;

inline std::string golden_dir() { return std::string(QUIRE_SOURCE_DIR) + "/tests/golden"; }

struct Golden {
  std::string name;
  nlohmann::json json = {};
  Rows logits = {};  // of each prompt token, fp32

  std::vector<int32_t> tokens(const char* key) const {
    return json.at(key).get<std::vector<int32_t>>();
  }
};

// `name`: a folder below golden_dir().
inline Golden load_golden(const std::string& name) {
  Golden golden{.name = name};
  std::ifstream(golden_dir() + "/" + name + "/golden.json") >> golden.json;
  const SafetensorsFile file(golden_dir() + "/" + name + "/logits.safetensors");
  const TensorView logits = file.view("logits");
  const auto columns = static_cast<size_t>(logits.shape[1]);
  for (int64_t i = 0; i < logits.rows(); ++i) {
    std::vector<float>& row = golden.logits.emplace_back(columns);
    std::memcpy(row.data(), logits.rows_view(i, 1).data, columns * sizeof(float));
  }
  return golden;
}

// The folders with a golden in `directory`, sorted.
inline std::vector<std::string> golden_names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
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
    directory.link_all(golden_dir() + "/checkpoints/" +
                       golden.json.at("checkpoint").get<std::string>());
    directory.write("config.json", golden.json.at("config").dump());
    loaded_ = load_model(load_model_config(directory.path()),
                         {.directory = directory.path(),
                          .dtype = dtype,
                          .max_model_len = golden.json.at("max_model_len").get<int>()},
                         kernels, stream_);
  }
  SingleSequence start(int block_size = 16, SingleSequence::LoraOfTokens lora = {}) {
    return SingleSequence(*loaded_.model, kernels_, stream_,
                          {.cache_dtype = loaded_.dtype,
                           .block_size = block_size,
                           .max_tokens = 64,
                           .lora = std::move(lora)});
  }
  const LoadedModel& loaded() const { return loaded_; }
  Stream& stream() { return stream_; }

 private:
  ThreadPool pool_;
  Stream stream_;
  const KernelTable& kernels_;
  LoadedModel loaded_;
};

// Feeds `tokens` in chunks of these sizes, over and over.
inline Rows run(SingleSequence sequence, const std::vector<int32_t>& tokens,
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

// Of the greatest difference to the greatest reference value.
inline double relative_error(const Rows& actual, const Rows& expected) {
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

}  // namespace quire
