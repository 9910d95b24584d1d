#include "checkpoint/peft_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "support/pickle_bytes.h"
#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kPrefix = "base_model.model.";
const std::string kQ0 = "model.layers.0.self_attn.q_proj";
const std::string kV0 = "model.layers.0.self_attn.v_proj";
const std::string kQ1 = "model.layers.1.self_attn.q_proj";
const std::string kV1 = "model.layers.1.self_attn.v_proj";

// Two layers: q_proj is 6 to 4, v_proj 6 to 2.
std::vector<LoraTarget> llama_targets() {
  return {{kQ0, 6, 4}, {kV0, 6, 2}, {kQ1, 6, 4}, {kV1, 6, 2}};
}

// F32 and of this shape; the values depend on `seed`.
StoredTensor f32(std::vector<int64_t> shape, int seed = 1) {
  std::string bytes;
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(seed * 100 + i);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return {"F32", std::move(shape), bytes};
}
float value_of(const TensorView& view, int64_t i) {
  float value = 0.0F;
  std::memcpy(&value, view.as<char>() + i * 4, sizeof(value));
  return value;
}

// An adapter's directory that tests write.
class PeftAdapterTest : public ::testing::Test {
 protected:
  PeftAdapterTest() {
    for (const std::string& module : {kQ0, kV0, kQ1, kV1}) add(module, 2);
  }

  // Adds or replaces A and B of a module.
  void add(const std::string& module, int rank) {
    const int out_features = module.ends_with("q_proj") ? 4 : 2;
    tensors[key(module, "A")] = f32({rank, 6}, static_cast<int>(tensors.size()) + 1);
    tensors[key(module, "B")] = f32({out_features, rank}, static_cast<int>(tensors.size()) + 1);
  }
  static std::string key(const std::string& module, const std::string& matrix) {
    return kPrefix + module + ".lora_" + matrix + ".weight";
  }
  // Replaces every key by what `rename` makes of it.
  template <typename Rename>
  void rename_keys(const Rename& rename) {
    StoredTensors renamed;
    for (const auto& [name, tensor] : tensors) renamed[rename(name)] = tensor;
    tensors = renamed;
  }
  PeftAdapter read() {
    directory.write("adapter_config.json", config.dump());
    directory.write("adapter_model.safetensors", safetensors_bytes(tensors));
    return read_directory();
  }
  PeftAdapter read_directory() { return PeftAdapter(directory.path(), targets, limits); }
  std::string error() {
    return load_error_of([&] { read(); });
  }

  nlohmann::json config = {{"peft_type", "LORA"},
                           {"r", 2},
                           {"lora_alpha", 3},
                           {"base_model_name_or_path", "org/base"},
                           {"target_modules", {"q_proj", "v_proj"}}};
  StoredTensors tensors;
  std::vector<LoraTarget> targets = llama_targets();
  PeftLimits limits;
  TempDir directory;
};

TEST_F(PeftAdapterTest, ReadsAPlainAdapter) {
  const PeftAdapter adapter = read();
  ASSERT_EQ(adapter.parts().size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(adapter.parts()[i].target, i);
  const PeftPart& part = adapter.parts()[1];
  EXPECT_EQ(part.rank, 2);
  EXPECT_EQ(part.scale, 1.5F);
  EXPECT_EQ(part.a.shape, (Shape{2, 6}));
  EXPECT_EQ(part.b.shape, (Shape{2, 2}));
  EXPECT_EQ(value_of(part.a, 3), 303.0F);
  EXPECT_EQ(value_of(part.b, 1), 401.0F);
  EXPECT_EQ(adapter.max_rank(), 2);
  EXPECT_EQ(adapter.base_model_name(), "org/base");
  EXPECT_THAT(adapter.alora_invocation_tokens(), IsEmpty());
  EXPECT_THAT(adapter.warnings(), IsEmpty());
}

TEST_F(PeftAdapterTest, StaysValidWhenMoved) {
  PeftAdapter adapter = read();
  const PeftAdapter moved = std::move(adapter);
  EXPECT_EQ(value_of(moved.parts()[1].a, 3), 303.0F);
  EXPECT_THAT(moved.content_hash(), read().content_hash());
}

TEST_F(PeftAdapterTest, ReadsTypesAndRanksThatDiffer) {
  config["target_modules"] = {"layers.0.self_attn.q_proj", "layers.1.self_attn.v_proj"};
  config["rank_pattern"] = {{"layers.1.*", 5}};
  config["alpha_pattern"] = {{"q_proj", 7}};
  config["use_rslora"] = true;
  tensors.clear();
  tensors[key(kQ0, "A")] = {"BF16", {2, 6}, std::string(24, 'a')};
  tensors[key(kQ0, "B")] = {"F16", {4, 2}, std::string(16, 'b')};
  add(kV1, 5);
  const PeftAdapter adapter = read();
  ASSERT_EQ(adapter.parts().size(), 2U);
  EXPECT_EQ(adapter.parts()[0].a.dtype, DType::kBF16);
  EXPECT_EQ(adapter.parts()[0].b.dtype, DType::kF16);
  EXPECT_FLOAT_EQ(adapter.parts()[0].scale, 7.0F / std::sqrt(2.0F));
  EXPECT_EQ(adapter.parts()[1].target, 3U);
  EXPECT_EQ(adapter.parts()[1].rank, 5);
  EXPECT_FLOAT_EQ(adapter.parts()[1].scale, 3.0F / std::sqrt(5.0F));
  EXPECT_EQ(adapter.max_rank(), 5);
}

TEST_F(PeftAdapterTest, ReadsOtherSpellingsOfKeys) {
  config["alpha_pattern"] = {{"^model\\.layers\\.0.*", 7}};  // of names in full
  const auto plain = read().content_hash();
  const StoredTensors good = tensors;
  rename_keys([](std::string name) { return name.erase(0, kPrefix.size()); });
  EXPECT_EQ(read().content_hash(), plain);
  tensors = good;
  rename_keys([](std::string name) { return name.insert(name.rfind(".weight"), ".default"); });
  EXPECT_EQ(read().content_hash(), plain);
  tensors = good;
  rename_keys([](std::string name) { return name.erase(0, (kPrefix + "model.").size()); });
  EXPECT_EQ(read().content_hash(), plain);
}

// gpt2's own checkpoint lacks the prefix that the model has in PEFT.
TEST_F(PeftAdapterTest, MatchesABareCheckpoint) {
  targets = {{"h.0.attn.c_attn", 6, 4}, {"h.1.attn.c_attn", 6, 4}, {"lm_head", 6, 9}};
  config["target_modules"] = "transformer\\.h\\.0\\.attn\\.c_attn";
  config["alpha_pattern"] = {{"^transformer\\.h.*", 8}};
  config["fan_in_fan_out"] = true;
  tensors = {{key("transformer.h.0.attn.c_attn", "A"), f32({2, 6})},
             {key("transformer.h.0.attn.c_attn", "B"), f32({4, 2})}};
  const PeftAdapter adapter = read();
  ASSERT_EQ(adapter.parts().size(), 1U);
  EXPECT_EQ(adapter.parts()[0].scale, 4.0F);
  config["target_modules"] = "transformer\\.h\\..\\.attn\\.c_attn";
  EXPECT_THAT(error(), HasSubstr("no tensors for 'transformer.h.1.attn.c_attn'"));
}

TEST_F(PeftAdapterTest, MatchesAnAdapterOfABareModel) {
  targets = {{"transformer.h.0.attn.c_attn", 6, 4}};
  config["target_modules"] = "h\\.0.*";
  tensors = {{key("h.0.attn.c_attn", "A"), f32({2, 6})},
             {key("h.0.attn.c_attn", "B"), f32({4, 2})}};
  EXPECT_EQ(read().parts().size(), 1U);
}

TEST_F(PeftAdapterTest, KnowsBothNamesOfTheHead) {
  targets.push_back({"embed_out", 6, 9, /*is_head=*/true});
  config["target_modules"] = {"q_proj", "v_proj", "lm_head"};
  tensors[key("lm_head", "A")] = f32({2, 6});
  tensors[key("lm_head", "B")] = f32({9, 2});
  EXPECT_EQ(read().parts().back().target, 4U);
  EXPECT_THAT(read().warnings(), IsEmpty());
}

TEST_F(PeftAdapterTest, RefusesTwoTensorsForOneMatrix) {
  config.erase("target_modules");
  tensors["layers.0.self_attn.q_proj.lora_A.weight"] = f32({2, 6});
  EXPECT_THAT(error(), AllOf(HasSubstr("'layers.0.self_attn.q_proj.lora_A.weight'"),
                             HasSubstr("same matrix as '" + key(kQ0, "A") + "'")));
}

TEST_F(PeftAdapterTest, RefusesTwoAdaptersInOneFile) {
  rename_keys([](std::string name) {
    return name.insert(name.rfind(".weight"),
                       name.find("layers.0") != std::string::npos ? ".default" : ".other");
  });
  EXPECT_THAT(error(), AllOf(HasSubstr("'default'"), HasSubstr("'other'")));
}

TEST_F(PeftAdapterTest, RefusesModulesThatTheModelLacks) {
  add("model.layers.2.self_attn.q_proj", 2);
  EXPECT_THAT(error(), AllOf(HasSubstr("adapter_model.safetensors: tensor '"),
                             HasSubstr("no linear layer 'model.layers.2.self_attn.q_proj'"),
                             HasSubstr("it has '" + kQ0 + "', '" + kV0 + "'")));
  tensors.clear();
  add("model.layers.1.mlp.experts.0.w1", 2);
  EXPECT_THAT(error(), HasSubstr("'model.layers.1.mlp.experts.0.w1'"));
}

TEST_F(PeftAdapterTest, RefusesOtherTensorsByName) {
  tensors[kPrefix + "lm_head.weight"] = f32({9, 6});
  EXPECT_THAT(error(),
              AllOf(HasSubstr("adapter_model.safetensors: tensor 'base_model.model.lm_head"),
                    HasSubstr("modules_to_save")));
}

TEST_F(PeftAdapterTest, RefusesHalfAModule) {
  const StoredTensors good = tensors;
  tensors.erase(key(kV0, "B"));
  EXPECT_THAT(error(),
              AllOf(HasSubstr("'" + key(kV0, "A") + "'"), HasSubstr("lora_B.weight is missing")));
  tensors = good;
  tensors.erase(key(kV0, "A"));
  EXPECT_THAT(error(),
              AllOf(HasSubstr("'" + key(kV0, "B") + "'"), HasSubstr("lora_A.weight is missing")));
  tensors.clear();
  EXPECT_THAT(error(), HasSubstr("has no tensors"));
}

TEST_F(PeftAdapterTest, ChecksShapes) {
  tensors[key(kQ0, "A")] = f32({2, 5});
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "A")), HasSubstr("shape [2, 5], expected [2, 6]"),
                             HasSubstr("in_features")));
  tensors[key(kQ0, "A")] = f32({12});
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "A")), HasSubstr("no matrix")));
  add(kQ0, 2);
  tensors[key(kQ0, "B")] = f32({4, 3});
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "B")), HasSubstr("shape [4, 3], expected [4, 2]")));
  tensors[key(kQ0, "B")] = f32({2, 4});
  EXPECT_THAT(error(), HasSubstr("shape [2, 4], expected [4, 2]"));
}

TEST_F(PeftAdapterTest, ChecksRanks) {
  add(kQ1, 3);
  EXPECT_THAT(error(), AllOf(HasSubstr("rank 3"), HasSubstr("adapter_config.json gives 2"),
                             HasSubstr("'" + kQ1 + "'"), HasSubstr("'rank_pattern'")));
  config["rank_pattern"] = {{"layers.1.self_attn.q_proj", 3}};
  EXPECT_EQ(error(), "");
  limits.max_rank = 2;
  EXPECT_THAT(error(), AllOf(HasSubstr("rank 3 is not in [1, 2]"), HasSubstr(key(kQ1, "A"))));
  limits.max_rank = 3;
  EXPECT_EQ(error(), "");
  add(kQ1, 0);
  EXPECT_THAT(error(), HasSubstr("rank 0"));
}

TEST_F(PeftAdapterTest, RefusesOtherTypes) {
  tensors[key(kQ0, "A")] = {"I32", {2, 6}, std::string(48, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "A")), HasSubstr("I32")));
  tensors[key(kQ0, "A")] = f32({2, 6});
  tensors[key(kQ0, "B")] = {"I32", {4, 2}, std::string(32, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "B")), HasSubstr("I32")));
  tensors[key(kQ0, "A")] = {"F8_E4M3", {2, 6}, std::string(12, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kQ0, "A")), HasSubstr("F8_E4M3")));
}

TEST_F(PeftAdapterTest, RefusesTensorsThatTheConfigurationDoesNotSelect) {
  config["target_modules"] = {"q_proj"};
  EXPECT_THAT(error(), AllOf(HasSubstr(key(kV0, "A")), HasSubstr("does not select '" + kV0 + "'"),
                             HasSubstr("'target_modules'")));
  config["target_modules"] = {"q_proj", "v_proj"};
  config["exclude_modules"] = {"layers.1.self_attn.v_proj"};
  EXPECT_THAT(error(), HasSubstr("does not select '" + kV1 + "'"));
  config.erase("exclude_modules");
  config["layers_to_transform"] = {0};
  EXPECT_THAT(error(), HasSubstr("does not select '" + kQ1 + "'"));
}

TEST_F(PeftAdapterTest, RefusesFilesThatLackSelectedModules) {
  tensors.erase(key(kV1, "A"));
  tensors.erase(key(kV1, "B"));
  EXPECT_THAT(error(),
              AllOf(HasSubstr("no tensors for '" + kV1 + "'"), HasSubstr("'target_modules'")));
  config["target_modules"] = "all-linear";
  EXPECT_THAT(error(), HasSubstr("no tensors for '" + kV1 + "'"));
  config["target_modules"] = ".*_proj";
  EXPECT_THAT(error(), HasSubstr("no tensors for '" + kV1 + "'"));
  config["exclude_modules"] = ".*\\.1\\..*v_proj";
  EXPECT_EQ(error(), "");
  config.erase("exclude_modules");
  config.erase("target_modules");  // PEFT then has a default for each type of model
  EXPECT_EQ(error(), "");
}

TEST_F(PeftAdapterTest, KnowsThatPeftAdaptsNoOtherLayers) {
  tensors.clear();
  add(kQ1, 2);
  add(kV1, 2);
  config["layers_to_transform"] = 1;
  EXPECT_EQ(read().parts().size(), 2U);
  config["layers_pattern"] = "layers";
  EXPECT_EQ(read().parts()[0].target, 2U);
}

TEST_F(PeftAdapterTest, WarnsOfNamesThatSelectNothing) {
  config["target_modules"] = {"q_proj", "v_proj", "w1"};
  EXPECT_THAT(read().warnings(),
              ElementsAre(AllOf(HasSubstr("'target_modules'"), HasSubstr("'w1'"))));
}

TEST_F(PeftAdapterTest, ReadsInvocationTokens) {
  const auto plain = read().content_hash();
  config["alora_invocation_tokens"] = {7, 8};
  EXPECT_THAT(read().alora_invocation_tokens(), ElementsAre(7, 8));
  EXPECT_NE(read().content_hash(), plain);
}

TEST_F(PeftAdapterTest, HashesWhatDecidesTheResultOnly) {
  const auto plain = read().content_hash();
  EXPECT_EQ(read().content_hash(), plain);
  const nlohmann::json good_config = config;
  const StoredTensors good = tensors;

  config["base_model_name_or_path"] = "other";
  config["lora_dropout"] = 0.1;
  EXPECT_EQ(read().content_hash(), plain);
  config["lora_alpha"] = 4;
  EXPECT_NE(read().content_hash(), plain);
  config["lora_alpha"] = 3 * std::sqrt(0.5);  // the same scale
  config["use_rslora"] = true;
  EXPECT_EQ(read().content_hash(), plain);
  config = good_config;

  tensors[key(kV1, "B")].bytes.back() ^= 1;
  EXPECT_NE(read().content_hash(), plain);
  tensors = good;
  std::swap(tensors[key(kV0, "B")], tensors[key(kV1, "B")]);
  EXPECT_NE(read().content_hash(), plain);
  tensors = good;

  // The same bytes for other modules.
  tensors.clear();
  for (const std::string& module : {kQ0, kV0}) {
    tensors[key(module, "A")] = good.at(key(module, "A"));
    tensors[key(module, "B")] = good.at(key(module, "B"));
  }
  config["layers_to_transform"] = 0;
  const auto first_layer = read().content_hash();
  rename_keys([](std::string name) { return name.replace(name.find("rs.0"), 4, "rs.1"); });
  config["layers_to_transform"] = 1;
  EXPECT_NE(read().content_hash(), first_layer);
}

TEST_F(PeftAdapterTest, HashesEveryByteOfLargeTensors) {
  constexpr int64_t kInFeatures = 30'000;  // 240 KB at rank 2
  targets = {{kQ0, kInFeatures, 4}};
  tensors = {{key(kQ0, "A"), f32({2, kInFeatures})}, {key(kQ0, "B"), f32({4, 2})}};
  const auto plain = read().content_hash();
  std::string& bytes = tensors[key(kQ0, "A")].bytes;
  for (const size_t at : {size_t{0}, size_t{4096}, bytes.size() / 2, bytes.size() - 1}) {
    bytes[at] ^= 1;
    EXPECT_NE(read().content_hash(), plain) << at;
    bytes[at] ^= 1;
  }
  EXPECT_EQ(read().content_hash(), plain);
}

// The tensors as torch.save would store them.
std::string pickle_file(const StoredTensors& tensors, const ZipOptions& options) {
  std::vector<ZipContent> files = {{"x/data.pkl", ""}};
  std::vector<std::pair<std::string, std::string>> items;
  for (const auto& [name, tensor] : tensors) {
    const std::string storage = std::to_string(files.size());
    items.push_back(
        {name, pickled::tensor({.key = storage,
                                .elements = static_cast<int64_t>(tensor.bytes.size()) / 4,
                                .sizes = tensor.shape,
                                .strides = {tensor.shape[1], 1}})});
    files.push_back({"x/data/" + storage, tensor.bytes});
  }
  files[0].content = pickled::dictionary(items);
  return zip_bytes(files, options);
}

TEST_F(PeftAdapterTest, ReadsPicklesAsItReadsSafetensors) {
  const auto plain = read().content_hash();
  std::filesystem::remove(directory.path() + "/adapter_model.safetensors");
  EXPECT_THAT(load_error_of([&] { read_directory(); }),
              AllOf(HasSubstr("adapter_model.safetensors"), HasSubstr("adapter_model.bin")));
  for (const bool deflated : {false, true}) {
    directory.write("adapter_model.bin",
                    pickle_file(tensors, {.deflated = deflated, .padding = 13}));
    PeftAdapter adapter = read_directory();
    EXPECT_EQ(adapter.content_hash(), plain);
    const PeftAdapter moved = std::move(adapter);
    EXPECT_EQ(value_of(moved.parts()[1].a, 3), 303.0F);
  }
  directory.write("adapter_model.bin", "x");
  EXPECT_EQ(read().content_hash(), plain);  // which has the safetensors again
}

TEST_F(PeftAdapterTest, ReadsWhatTorchSaved) {
  targets = {{"m.0.q", 3, 4}, {"m.0.v", 3, 4}};
  config["target_modules"] = {"q", "v"};
  config["rank_pattern"] = {{"v", 1}};
  directory.write("adapter_config.json", config.dump());
  directory.write("adapter_model.bin",
                  read_bytes(QUIRE_SOURCE_DIR "/tests/support/torch_save.bin"));
  const PeftAdapter adapter = read_directory();
  ASSERT_EQ(adapter.parts().size(), 2U);
  EXPECT_EQ(adapter.parts()[0].a.dtype, DType::kBF16);
  EXPECT_EQ(adapter.parts()[1].rank, 1);
  EXPECT_EQ(value_of(adapter.parts()[1].b, 3), 11.0F);
}

TEST_F(PeftAdapterTest, SaysWhichDirectoryToGive) {
  EXPECT_THAT(load_error_of([&] { PeftAdapter(directory.path() + "/none", targets, limits); }),
              AllOf(HasSubstr("/none"), HasSubstr("no such directory")));
  EXPECT_THAT(load_error_of([&] { read_directory(); }),
              AllOf(HasSubstr(directory.path()), HasSubstr("no adapter_config.json")));
  std::filesystem::create_directory(directory.path() + "/sql");
  directory.write("sql/adapter_config.json", "{}");
  EXPECT_THAT(load_error_of([&] { read_directory(); }),
              HasSubstr("give '" + directory.path() + "/sql'"));
  std::filesystem::create_directory(directory.path() + "/more");
  directory.write("more/adapter_config.json", "{}");
  EXPECT_THAT(load_error_of([&] { read_directory(); }),
              AllOf(HasSubstr("several adapters"), HasSubstr("/more'")));
}

TEST_F(PeftAdapterTest, LimitsTheHeader) {
  read();
  std::string bytes(8, '\0');
  bytes[3] = 3;  // 48 MB
  directory.write("adapter_model.safetensors", bytes + std::string(1000, ' '));
  EXPECT_THAT(load_error_of([&] { read_directory(); }), HasSubstr("the limit for an adapter"));
}

TEST_F(PeftAdapterTest, NamesTheFieldOfTheConfiguration) {
  config["use_dora"] = true;
  EXPECT_THAT(error(), AllOf(HasSubstr(directory.path() + "/adapter_config.json: 'use_dora'")));
}

TEST_F(PeftAdapterTest, SurvivesRandomDamage) {
  const std::string good = safetensors_bytes(tensors);
  read();
  std::mt19937 random(1);
  int num_read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    directory.write("adapter_model.safetensors", bytes);
    try {
      EXPECT_EQ(read_directory().parts().size(), 4U);
      ++num_read;
    } catch (const LoadError& error) {
      EXPECT_THAT(error.what(), HasSubstr(directory.path()));
    }
  }
  EXPECT_GT(num_read, 50);
  EXPECT_LT(num_read, 2950);
}

}  // namespace
}  // namespace quire
