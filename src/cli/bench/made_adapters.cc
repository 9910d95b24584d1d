#include "cli/bench/made_adapters.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

std::string module_of(const std::string& target) { return target.substr(target.rfind('.') + 1); }

// A matrix to be written.
struct Matrix {
  std::string name;
  int64_t rows = 0;
  int64_t columns = 0;
  float deviation = 0.0F;
};

// Uniform numbers of a given deviation, cheap enough to make gigabytes of.
class Noise {
 public:
  float next(float deviation) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    constexpr float kSqrt3 = 1.7320508F;
    return (static_cast<float>(state_ >> 40) * 0x1p-23F - 1.0F) * kSqrt3 * deviation;
  }

 private:
  uint64_t state_ = 1;
};

constexpr size_t kElementBytes = 2;

std::string elements_of(const Matrix& matrix, Noise& noise) {
  const auto count = static_cast<size_t>(matrix.rows * matrix.columns);
  std::string bytes(count * kElementBytes, '\0');
  for (size_t i = 0; i < count; ++i) {
    // The upper half of a float is a bf16.
    const auto bits = std::bit_cast<uint32_t>(noise.next(matrix.deviation));
    const auto upper = static_cast<uint16_t>(bits >> 16);
    std::memcpy(bytes.data() + i * kElementBytes, &upper, kElementBytes);
  }
  return bytes;
}

void write_weights(const std::string& path, const std::vector<Matrix>& matrices) {
  nlohmann::ordered_json header;
  int64_t offset = 0;
  for (const Matrix& matrix : matrices) {
    const int64_t end = offset + matrix.rows * matrix.columns * int64_t{kElementBytes};
    header[matrix.name] = {{"dtype", "BF16"},
                           {"shape", {matrix.rows, matrix.columns}},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  const std::string text = header.dump();
  const uint64_t header_bytes = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  out << text;
  Noise noise;
  for (const Matrix& matrix : matrices) out << elements_of(matrix, noise);
  if (!out.flush()) throw LoadError("cannot write " + path + "; is the disk full?");
}

std::vector<Matrix> matrices_of(const std::vector<const LoraTarget*>& targets, int rank) {
  std::vector<Matrix> matrices;
  for (const LoraTarget* target : targets) {
    const std::string prefix = "base_model.model." + target->name;
    matrices.push_back({.name = prefix + ".lora_A.weight",
                        .rows = rank,
                        .columns = target->in_features,
                        .deviation = 1.0F / std::sqrt(static_cast<float>(target->in_features))});
    matrices.push_back({.name = prefix + ".lora_B.weight",
                        .rows = target->out_features,
                        .columns = rank,
                        .deviation = 0.02F});
  }
  return matrices;
}

std::string make_folder() {
  std::string pattern = (fs::temp_directory_path() / "quire_adapters_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw LoadError("cannot make a folder " + pattern);
  return pattern;
}

// The modules that the options name.
std::vector<const LoraTarget*> choose(std::span<const LoraTarget> targets,
                                      const std::vector<std::string>& modules) {
  std::vector<const LoraTarget*> chosen;
  for (const LoraTarget& target : targets) {
    const bool is_wanted =
        modules.empty() ? !target.is_head
                        : std::ranges::find(modules, module_of(target.name)) != modules.end();
    if (is_wanted) chosen.push_back(&target);
  }
  if (chosen.empty()) throw LoadError("--modules names no module of the model");
  return chosen;
}

}  // namespace

MadeAdapters::MadeAdapters(MadeAdaptersOptions options)
    : options_(std::move(options)), folder_(make_folder()) {}

MadeAdapters::~MadeAdapters() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string MadeAdapters::weights_path(int rank) const {
  return folder_ + "/rank-" + std::to_string(rank);
}

void MadeAdapters::write_weights_of_all_ranks(std::span<const LoraTarget> targets) {
  const std::vector<const LoraTarget*> chosen = choose(targets, options_.modules);
  std::set<std::string> modules;
  for (const LoraTarget* target : chosen) modules.insert(module_of(target->name));
  for (const int rank : options_.ranks) {
    const bool is_new = configs_
                            .try_emplace(rank, nlohmann::json{{"peft_type", "LORA"},
                                                              {"r", rank},
                                                              {"target_modules", modules}})
                            .second;
    if (is_new) write_weights(weights_path(rank), matrices_of(chosen, rank));
  }
}

void MadeAdapters::make(std::span<const LoraTarget> targets, int count) {
  constexpr double kAlphaStep = 1.0 / 4096;  // too little to matter
  if (configs_.empty()) write_weights_of_all_ranks(targets);
  for (; count_ < count; ++count_) {
    const int rank = options_.ranks[static_cast<size_t>(count_) % options_.ranks.size()];
    fs::create_directory(path(count_));
    fs::create_symlink(weights_path(rank), path(count_) + "/adapter_model.safetensors");
    nlohmann::json config = configs_.at(rank);
    config["lora_alpha"] = 2 * rank + kAlphaStep * count_;
    std::ofstream out(path(count_) + "/adapter_config.json");
    out << config.dump();
    if (!out.flush()) throw LoadError("cannot write " + path(count_) + "; is the disk full?");
  }
}

}  // namespace quire
