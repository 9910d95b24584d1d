#include "models/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/rope_options.h"
#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const nlohmann::json kLlama = {{"architectures", {"LlamaForCausalLM"}},
                               {"model_type", "llama"},
                               {"hidden_size", 64},
                               {"num_hidden_layers", 2},
                               {"num_attention_heads", 4},
                               {"num_key_value_heads", 2},
                               {"intermediate_size", 96},
                               {"vocab_size", 100},
                               {"max_position_embeddings", 128},
                               {"eos_token_id", 2}};

ModelConfig load(const nlohmann::json& config, const std::string& generation_config = "") {
  const TempDir directory;
  directory.write("config.json", config.dump());
  if (!generation_config.empty()) directory.write("generation_config.json", generation_config);
  return load_model_config(directory.path());
}

// The message for kLlama with `key` replaced; null removes it.
std::string error_with(const std::string& key, const nlohmann::json& value) {
  nlohmann::json config = kLlama;
  config.erase(key);
  if (!value.is_null()) config[key] = value;
  return load_error_of([&] { load(config); });
}

std::string rope_error_with(const nlohmann::json& rope) {
  nlohmann::json config = kLlama;
  config["rope_scaling"] = rope;
  return load_error_of([&] { rotary_options(load(config), 128); });
}

TEST(ModelConfig, ReadsFieldsAndFillsDefaults) {
  const ModelConfig config = load(kLlama);
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.torch_dtype, "float32");
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, -1);
  EXPECT_FALSE(config.temperature.has_value());
}

TEST(ModelConfig, ReadsGpt2Names) {
  const ModelConfig config = load({{"architectures", {"GPT2LMHeadModel"}},
                                   {"model_type", "gpt2"},
                                   {"n_embd", 48},
                                   {"n_layer", 3},
                                   {"n_head", 4},
                                   {"n_positions", 99},
                                   {"n_inner", nullptr},
                                   {"vocab_size", 10}});
  EXPECT_EQ(config.hidden_size, 48);
  EXPECT_EQ(config.num_hidden_layers, 3);
  EXPECT_EQ(config.max_position_embeddings, 99);
  EXPECT_EQ(config.intermediate_size, 192);
  EXPECT_TRUE(config.tie_word_embeddings);
}

TEST(ModelConfig, MergesGenerationConfig) {
  const ModelConfig config =
      load(kLlama,
           R"({"eos_token_id":[3,2,3],"bos_token_id":1,"temperature":0.6,"top_k":20,"top_p":0.9})");
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 3));
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.temperature, 0.6F);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_FALSE(config.max_new_tokens.has_value());
}

TEST(ModelConfig, TheScaledContextLengthFollowsTheRopeScaling) {
  const auto length = [](const nlohmann::json& rope) {
    nlohmann::json config = kLlama;
    config["rope_scaling"] = rope;
    return load(config).max_position_embeddings;
  };
  EXPECT_EQ(length(nullptr), 128);
  EXPECT_EQ(length({{"type", "linear"}, {"factor", 2.0}}), 256);
  EXPECT_EQ(length({{"rope_type", "dynamic"}, {"factor", 1.5}}), 192);
  EXPECT_EQ(
      length({{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 32}}),
      128);
  EXPECT_EQ(length({{"rope_type", "llama3"}, {"factor", 8}}), 128);
}

TEST(ModelConfig, NamesFileAndKeyOfWhatIsMissingOrWrong) {
  EXPECT_THAT(error_with("hidden_size", nullptr),
              AllOf(HasSubstr("config.json"), HasSubstr("'hidden_size' is missing")));
  EXPECT_THAT(error_with("hidden_size", "64"), HasSubstr("'hidden_size' is not an integer"));
  EXPECT_THAT(error_with("hidden_size", 64.5), HasSubstr("not an integer"));
  EXPECT_THAT(error_with("num_hidden_layers", 0), HasSubstr("'num_hidden_layers' is 0"));
  EXPECT_THAT(error_with("num_hidden_layers", -1), HasSubstr("is -1"));
  EXPECT_THAT(error_with("vocab_size", 18446744073709551615ULL),
              HasSubstr("'vocab_size' is 18446744073709551615"));
  EXPECT_THAT(error_with("intermediate_size", 1LL << 40), HasSubstr("'intermediate_size'"));
  EXPECT_THAT(error_with("num_key_value_heads", 3), HasSubstr("does not divide"));
  EXPECT_THAT(error_with("num_attention_heads", 6), HasSubstr("does not divide hidden_size"));
  EXPECT_THAT(error_with("eos_token_id", {2, "x"}), HasSubstr("'eos_token_id'"));
  EXPECT_THAT(error_with("eos_token_id", 100), HasSubstr("'eos_token_id' is 100"));
  EXPECT_THAT(error_with("tie_word_embeddings", 1),
              HasSubstr("'tie_word_embeddings' is not true or false"));
  EXPECT_THAT(error_with("architectures", nlohmann::json::array()), HasSubstr("'architectures'"));
  EXPECT_THAT(error_with("rope_scaling", {{"type", "linear"}, {"factor", 1e10}}),
              HasSubstr("'factor'"));
  EXPECT_THAT(error_with("rope_scaling", 3), HasSubstr("'rope_scaling' is not an object"));
}

TEST(ModelConfig, NamesFilesThatAreMissingOrNoJson) {
  const TempDir directory;
  const auto error = [&] { return load_error_of([&] { load_model_config(directory.path()); }); };
  EXPECT_THAT(error(), HasSubstr("config.json: No such file"));
  directory.write("config.json", "{");
  EXPECT_THAT(error(), HasSubstr("config.json: not valid JSON"));
  directory.write("config.json", "[1]");
  EXPECT_THAT(error(), HasSubstr("config.json: not a JSON object"));
  EXPECT_THAT(load_error_of([&] { load(kLlama, "nonsense"); }),
              HasSubstr("generation_config.json"));
  EXPECT_THAT(load_error_of([&] { load(kLlama, R"({"temperature":"hot"})"); }),
              AllOf(HasSubstr("generation_config.json"), HasSubstr("'temperature'")));
}

TEST(RotaryOptions, NamesWhatIsMissingOrUnsupported) {
  EXPECT_THAT(rope_error_with({{"rope_type", "mrope"}}),
              AllOf(HasSubstr("'mrope'"), HasSubstr("longrope")));
  EXPECT_THAT(rope_error_with({{"rope_type", "linear"}}),
              AllOf(HasSubstr("rope_scaling"), HasSubstr("'factor' is missing")));
  EXPECT_THAT(rope_error_with({{"rope_type", "linear"}, {"factor", 0.0}}),
              HasSubstr("not positive"));
  EXPECT_THAT(rope_error_with({{"rope_type", "llama3"}, {"factor", 8.0}}),
              HasSubstr("'low_freq_factor'"));
  EXPECT_THAT(rope_error_with({{"rope_type", "longrope"}, {"short_factor", {1, 2}}}),
              HasSubstr("list of 8 numbers"));
  EXPECT_THAT(rope_error_with({{"rope_type", "default"}, {"partial_rotary_factor", 2.0}}),
              HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(rope_error_with({{"rope_type", "default"}, {"rope_theta", 0.5}}),
              HasSubstr("rope_theta"));
}

// Whatever the file, loading ends in a configuration or in a LoadError.
TEST(ModelConfig, SurvivesMutatedFiles) {
  const std::string good = kLlama.dump();
  uint32_t state = 12345;
  const auto random = [&] { return (state = state * 1664525U + 1013904223U) >> 8; };
  const std::string alphabet = "{}[]\",:0123456789-.e";
  const TempDir directory;
  int num_errors = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = good;
    text[random() % text.size()] = alphabet[random() % alphabet.size()];
    if (round % 2 == 0) text.erase(random() % text.size(), 1 + random() % 3);
    directory.write("config.json", text);
    try {
      rotary_options(load_model_config(directory.path()), 16);
    } catch (const LoadError&) {
      ++num_errors;
    }
  }
  EXPECT_GT(num_errors, 500);
}

}  // namespace
}  // namespace quire
