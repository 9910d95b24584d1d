#include "cli/bench/made_adapters.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

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

}  // namespace

MadeAdapters::MadeAdapters(std::span<const LoraTarget> targets, const MadeAdaptersOptions& options)
    : folder_(make_folder()), count_(options.count) {
  std::vector<const LoraTarget*> chosen;
  std::set<std::string> modules;
  for (const LoraTarget& target : targets) {
    const std::string module = module_of(target.name);
    const bool is_wanted = options.modules.empty() ? !target.is_head
                                                   : std::ranges::find(options.modules, module) !=
                                                         options.modules.end();
    if (!is_wanted) continue;
    chosen.push_back(&target);
    modules.insert(module);
  }
  if (chosen.empty()) throw LoadError("--modules names no module of the model");
  for (const int rank : std::set<int>(options.ranks.begin(), options.ranks.end())) {
    write_weights(folder_ + "/rank-" + std::to_string(rank), matrices_of(chosen, rank));
  }
  for (int i = 0; i < options.count; ++i) {
    const int rank = options.ranks[static_cast<size_t>(i) % options.ranks.size()];
    fs::create_directory(path(i));
    fs::create_symlink(folder_ + "/rank-" + std::to_string(rank),
                       path(i) + "/adapter_model.safetensors");
    constexpr double kAlphaStep = 1.0 / 4096;  // too little to matter
    std::ofstream(path(i) + "/adapter_config.json") << nlohmann::json{
        {"peft_type", "LORA"},
        {"r", rank},
        {"lora_alpha", 2 * rank + kAlphaStep * i},
        {"target_modules", modules}}.dump();
  }
}

MadeAdapters::~MadeAdapters() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace quire
