// The weights of an HF checkpoint directory: model.safetensors, or the shards that
// model.safetensors.index.json names.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "checkpoint/weight_source.h"

namespace quire {

class CheckpointWeights : public WeightSource {
 public:
  // Opens every file and checks every header.  Throws LoadError naming the file and the tensor.
  explicit CheckpointWeights(const std::string& directory);

  bool contains(const std::string& name) const override { return files_by_tensor_.contains(name); }
  TensorView take(const std::string& name, const Shape& shape) override;
  void release(const TensorView& view) override;
  void check_all_taken(std::span<const std::string_view> ignored_suffixes) const override;

 private:
  void open_shards(const std::string& index_path);
  void add_file(const std::string& path);

  std::string directory_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> files_by_tensor_;
  std::set<std::string> taken_;
};

}  // namespace quire
