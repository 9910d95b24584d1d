#include "checkpoint/peft_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kQ0 = "model.layers.0.self_attn.q_proj";
constexpr const char* kV1 = "model.layers.1.self_attn.v_proj";
constexpr const char* kUp11 = "model.layers.11.mlp.up_proj";

class PeftConfigTest : public ::testing::Test {
 protected:
  // A LoRA configuration with these fields besides.
  PeftConfig read(const std::string& fields) { return read_text(object_of(fields)); }
  std::string error_of(const std::string& fields) { return error_of_text(object_of(fields)); }
  PeftConfig read_text(const std::string& text) {
    return PeftConfig(directory.write("adapter_config.json", text));
  }
  std::string error_of_text(const std::string& text) {
    return load_error_of([&] { read_text(text); });
  }
  static std::string object_of(const std::string& fields) {
    return R"({"peft_type": "LORA")" + (fields.empty() ? "" : ", " + fields) + "}";
  }
  TempDir directory;
};

TEST_F(PeftConfigTest, HasPeftsDefaults) {
  const PeftConfig config = read("");
  EXPECT_EQ(config.rank_of(kQ0), 8);
  EXPECT_EQ(config.scale_of(kQ0, 8), 1.0F);
  EXPECT_EQ(config.base_model_name, "");
  EXPECT_FALSE(config.selection.is_known());
  EXPECT_THAT(config.alora_invocation_tokens, IsEmpty());
}

// As PEFT 0.21 writes it.
TEST_F(PeftConfigTest, ReadsAWholeFile) {
  const PeftConfig config = read(R"(
    "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null,
    "auto_mapping": null, "base_model_name_or_path": "org/base", "bias": "none",
    "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
    "exclude_modules": null, "fan_in_fan_out": true, "inference_mode": true,
    "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
    "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 32, "lora_bias": false,
    "lora_dropout": 0.05, "lora_ga_config": null, "megatron_config": null,
    "megatron_core": "megatron.core", "modules_to_save": null, "peft_version": "0.21.2",
    "qalora_group_size": 16, "r": 16, "rank_pattern": {}, "revision": null,
    "target_modules": ["v_proj", "q_proj"], "target_parameters": null,
    "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_bdlora": null,
    "use_dora": false, "use_qalora": false, "use_rslora": false, "velora_config": null)");
  EXPECT_EQ(config.base_model_name, "org/base");
  EXPECT_EQ(config.rank_of(kQ0), 16);
  EXPECT_EQ(config.scale_of(kQ0, 16), 2.0F);
  EXPECT_TRUE(config.selection.contains(kQ0));
  EXPECT_FALSE(config.selection.contains(kUp11));
}

TEST_F(PeftConfigTest, ScalesByTheRootOfTheRankWithRslora) {
  const PeftConfig config =
      read(R"("use_rslora": true, "r": 8, "lora_alpha": 16.5, "alpha_pattern": {"v_proj": 3})");
  EXPECT_FLOAT_EQ(config.scale_of(kQ0, 8), 16.5F / std::sqrt(8.0F));
  EXPECT_FLOAT_EQ(config.scale_of(kV1, 3), 3.0F / std::sqrt(3.0F));
}

// Source: PEFT's get_pattern_key.
TEST_F(PeftConfigTest, TakesTheFirstPatternOfTheFile) {
  const PeftConfig config = read(R"(
    "r": 8, "lora_alpha": 16,
    "rank_pattern": {"z_proj": 1, "q_proj": 2, "layers.0.self_attn.q_proj": 3, "^up": 4,
                     "^model\\.layers\\.1\\..*": 5},
    "alpha_pattern": {"layers\\.0\\..*": 5, "q_proj": 6, "(up|down)_proj": 7, "eq_proj": 8})");
  EXPECT_EQ(config.rank_of(kQ0), 2);
  EXPECT_EQ(config.rank_of(kV1), 5);
  EXPECT_EQ(config.rank_of(kUp11), 8);
  EXPECT_EQ(config.scale_of(kQ0, 1), 5.0F);
  EXPECT_EQ(config.scale_of("model.layers.1.self_attn.q_proj", 1), 6.0F);
  EXPECT_EQ(config.scale_of(kUp11, 1), 7.0F);
  EXPECT_EQ(config.scale_of("model.layers.1.self_attn.seq_proj", 1), 16.0F);
}

TEST_F(PeftConfigTest, RefusesMalformedPatterns) {
  EXPECT_THAT(
      error_of(R"("rank_pattern": {"q(": 1})"),
      AllOf(HasSubstr("adapter_config.json"), HasSubstr("'rank_pattern'"), HasSubstr("'q('")));
  EXPECT_THAT(error_of(R"("alpha_pattern": {"a)|(b": 1})"), HasSubstr("'alpha_pattern'"));
  EXPECT_THAT(error_of(R"("alpha_pattern": [1])"), HasSubstr("'alpha_pattern'"));
  EXPECT_THAT(error_of(R"("alpha_pattern": {"q": "1"})"), HasSubstr("'alpha_pattern.q'"));
  EXPECT_THAT(error_of(R"("rank_pattern": {"q": 0})"), HasSubstr("'rank_pattern.q'"));
  EXPECT_THAT(error_of(R"("target_modules": ".*(?<=q)_proj")"), HasSubstr("'target_modules'"));
  EXPECT_THAT(error_of(R"("exclude_modules": "[")"), HasSubstr("'exclude_modules'"));
}

TEST_F(PeftConfigTest, RefusesFieldsOfTheWrongType) {
  EXPECT_THAT(error_of(R"("r": 8.5)"), AllOf(HasSubstr("'r'"), HasSubstr("8.5")));
  EXPECT_THAT(error_of(R"("r": 0)"), HasSubstr("'r'"));
  EXPECT_THAT(error_of(R"("r": 18446744073709551615)"), HasSubstr("'r'"));
  EXPECT_THAT(error_of(R"("lora_alpha": "16")"), HasSubstr("'lora_alpha'"));
  EXPECT_THAT(error_of(R"("lora_alpha": 1e39)"), HasSubstr("'lora_alpha'"));
  EXPECT_THAT(error_of(R"("use_rslora": 1)"), HasSubstr("'use_rslora'"));
  EXPECT_THAT(error_of(R"("base_model_name_or_path": 1)"), HasSubstr("'base_model_name_or_path'"));
  EXPECT_THAT(error_of(R"("target_modules": 1)"), HasSubstr("'target_modules'"));
  EXPECT_THAT(error_of(R"("target_modules": ["q", 1])"), HasSubstr("'target_modules'"));
  EXPECT_THAT(error_of(R"("layers_to_transform": "1")"), HasSubstr("'layers_to_transform'"));
  EXPECT_THAT(error_of(R"("alora_invocation_tokens": [-1])"),
              HasSubstr("'alora_invocation_tokens'"));
  EXPECT_THAT(error_of(R"("alora_invocation_tokens": "x")"),
              HasSubstr("'alora_invocation_tokens'"));
}

TEST_F(PeftConfigTest, RefusesOtherKindsOfAdapters) {
  EXPECT_THAT(error_of_text(R"({"peft_type": "IA3", "feedforward_modules": ["x"]})"),
              AllOf(HasSubstr("'peft_type'"), HasSubstr("IA3")));
  EXPECT_THAT(error_of_text("{}"), HasSubstr("'peft_type'"));
  EXPECT_THAT(error_of_text(R"({"peft_type": ["LORA"]})"), HasSubstr("'peft_type'"));
}

TEST_F(PeftConfigTest, RefusesByNameWhatWouldChangeTheResult) {
  for (const char* field :
       {R"("use_dora": true)", R"("bias": "all")", R"("bias": "lora_only")", R"("lora_bias": true)",
        R"("modules_to_save": ["lm_head"])", R"("trainable_token_indices": [1])",
        R"("trainable_token_indices": {"embed_tokens": [1]})",
        R"("target_parameters": ["experts.gate_up_proj"])", R"("layer_replication": [[0, 4]])",
        R"("use_qalora": true)", R"("use_bdlora": {"nblocks": 2})", R"("kasa_config": {"beta": 1})",
        R"("arrow_config": {"top_k": 3})", R"("velora_config": {"scale": 1})",
        R"("monteclora_config": {"num_samples": 8})", R"("megatron_config": {"a": 1})"}) {
    const std::string text = field;
    const std::string name = text.substr(1, text.find('"', 1) - 1);
    EXPECT_THAT(error_of(text),
                AllOf(HasSubstr("adapter_config.json: '" + name + "'"),
                      HasSubstr("does not support"), HasSubstr("merge_and_unload")));
  }
}

TEST_F(PeftConfigTest, AcceptsWhatIsNotSet) {
  EXPECT_EQ(error_of(R"("use_dora": false, "modules_to_save": [], "lora_bias": null,
                        "target_parameters": [], "kasa_config": {}, "layer_replication": null,
                        "use_qalora": false, "bias": "none", "trainable_token_indices": null)"),
            "");
}

TEST_F(PeftConfigTest, RefusesUnknownFieldsThatAreSet) {
  EXPECT_EQ(error_of(R"("new_a": null, "new_b": false, "new_c": "", "new_d": [], "new_e": {})"),
            "");
  for (const char* value : {"true", "1", "0", "\"x\"", "[null]", "{\"a\": false}"}) {
    EXPECT_THAT(error_of(std::string("\"use_new\": ") + value),
                AllOf(HasSubstr("'use_new'"), HasSubstr(value[0] == '{' ? "{\"a\":" : value),
                      HasSubstr("unknown")));
  }
}

TEST_F(PeftConfigTest, RefusesInitialisationsThatChangeTheBase) {
  for (const char* init :
       {"true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""}) {
    EXPECT_EQ(error_of(std::string("\"init_lora_weights\": ") + init), "");
  }
  for (const std::string init : {"pissa", "pissa_niter_16", "corda", "olora", "lora_ga", "loftq"}) {
    EXPECT_THAT(error_of("\"init_lora_weights\": \"" + init + "\""),
                AllOf(HasSubstr("'init_lora_weights' is '" + init + "'"),
                      HasSubstr("path_initial_model_for_weight_conversion")));
  }
  EXPECT_THAT(error_of(R"("init_lora_weights": "new")"), HasSubstr("orthogonal"));
  EXPECT_THAT(error_of(R"("init_lora_weights": 1)"), HasSubstr("'init_lora_weights'"));
}

TEST_F(PeftConfigTest, ReadsInvocationTokens) {
  EXPECT_THAT(read(R"("alora_invocation_tokens": [3, 1, 4])").alora_invocation_tokens,
              ElementsAre(3, 1, 4));
}

// Source: PEFT's check_target_module_exists.
TEST_F(PeftConfigTest, SelectsModulesByTheEndOfTheirNames) {
  const ModuleSelection selection =
      read(R"("target_modules": ["q_proj", "1.self_attn.v_proj", "model.layers.11.mlp.up_proj"])")
          .selection;
  EXPECT_TRUE(selection.contains(kQ0));
  EXPECT_TRUE(selection.contains(kV1));
  EXPECT_TRUE(selection.contains(kUp11));
  EXPECT_TRUE(selection.contains("q_proj"));
  EXPECT_FALSE(selection.contains("model.layers.0.self_attn.eq_proj"));
  EXPECT_TRUE(selection.contains("model.layers.11.self_attn.q_proj"));
  EXPECT_FALSE(selection.contains("model.layers.11.self_attn.v_proj"));
}

TEST_F(PeftConfigTest, SelectsModulesByAPatternOfTheWholeName) {
  const ModuleSelection selection =
      read(R"("target_modules": ".*\\.[01]\\.self_attn\\.(q|v)_proj")").selection;
  EXPECT_TRUE(selection.contains(kQ0));
  EXPECT_TRUE(selection.contains(kV1));
  EXPECT_FALSE(selection.contains(kUp11));
  EXPECT_FALSE(read(R"("target_modules": "q_proj")").selection.contains(kQ0));
}

TEST_F(PeftConfigTest, ExcludesModules) {
  const ModuleSelection names = read(
                                    R"("target_modules": ["q_proj", "v_proj"],
           "exclude_modules": ["layers.1.self_attn.v_proj"])")
                                    .selection;
  EXPECT_TRUE(names.contains(kQ0));
  EXPECT_FALSE(names.contains(kV1));
  const ModuleSelection pattern =
      read(R"("target_modules": ["q_proj", "v_proj"], "exclude_modules": ".*\\.0\\..*")").selection;
  EXPECT_FALSE(pattern.contains(kQ0));
  EXPECT_TRUE(pattern.contains(kV1));
}

TEST_F(PeftConfigTest, SelectsAllLinearModulesOfTheLayers) {
  const ModuleSelection selection = read(R"("target_modules": "All-Linear")").selection;
  EXPECT_TRUE(selection.contains(kQ0));
  EXPECT_TRUE(selection.contains("h.0.attn.c_attn"));
  EXPECT_FALSE(selection.contains("lm_head"));
}

TEST_F(PeftConfigTest, SelectsModulesByLayer) {
  const ModuleSelection one =
      read(R"("target_modules": ["q_proj", "v_proj", "up_proj"], "layers_to_transform": 1)")
          .selection;
  EXPECT_FALSE(one.contains(kQ0));
  EXPECT_TRUE(one.contains(kV1));
  EXPECT_FALSE(one.contains(kUp11));
  const ModuleSelection two =
      read(R"("target_modules": ["q_proj", "model.layers.1.self_attn.v_proj",
      "mlp.up_proj"], "layers_to_transform": [0, 11], "layers_pattern": "layers")")
          .selection;
  EXPECT_TRUE(two.contains(kQ0));
  EXPECT_TRUE(two.contains(kV1));  // given whole
  EXPECT_TRUE(two.contains(kUp11));
  EXPECT_FALSE(two.contains("model.blocks.0.self_attn.q_proj"));
  EXPECT_TRUE(read(R"("target_modules": ["q"], "layers_to_transform": [], "layers_pattern": "")")
                  .selection.contains("q"));
}

TEST_F(PeftConfigTest, FindsTheNumberOfALayer) {
  EXPECT_EQ(layer_index_of("model.layers.12.experts.3.w1", {}), 12);
  EXPECT_EQ(layer_index_of("layers.12.experts.3.w1", {}), 3);  // as PEFT: two segments come before
  EXPECT_EQ(layer_index_of("model.layers.12", {}), std::nullopt);
  EXPECT_EQ(layer_index_of("model.layers.1x.q", {}), std::nullopt);
  EXPECT_EQ(layer_index_of("model.layers.-1.q", {}), std::nullopt);
  EXPECT_EQ(layer_index_of("a.b.99999999999999999999.q", {}), std::nullopt);
  EXPECT_EQ(layer_index_of("model.layers.12.experts.3.w1", {"h", "experts"}), 3);
  EXPECT_EQ(layer_index_of("model.h.2.layers.3.w1", {"layers", "h"}), 3);
  EXPECT_EQ(layer_index_of("h.2.w1", {"h"}), 2);
  EXPECT_EQ(layer_index_of("h.2.w1", {}), std::nullopt);
  EXPECT_EQ(layer_index_of("oh.2.w1", {"h"}), std::nullopt);
  EXPECT_EQ(layer_index_of("a.model.h.2.w1", {"model.h"}), 2);
  EXPECT_EQ(layer_index_of("lm_head", {}), std::nullopt);
}

TEST_F(PeftConfigTest, RefusesSelectionsThatPeftRefuses) {
  EXPECT_THAT(error_of(R"("target_modules": "q", "layers_to_transform": 1)"),
              HasSubstr("'layers_to_transform'"));
  EXPECT_THAT(
      error_of(R"("target_modules": ["q"], "layers_to_transform": 1, "layers_pattern": "l.*")"),
      HasSubstr("'layers_pattern'"));
}

TEST_F(PeftConfigTest, NamesFilesThatAreNotJsonObjects) {
  EXPECT_THAT(error_of_text("{"), AllOf(HasSubstr("adapter_config.json"), HasSubstr("JSON")));
  EXPECT_THAT(error_of_text("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_text(""), HasSubstr("empty"));
  EXPECT_THAT(load_error_of([] { PeftConfig("/nonexistent/adapter_config.json"); }),
              HasSubstr("/nonexistent/adapter_config.json"));
}

TEST_F(PeftConfigTest, LimitsTheFile) {
  EXPECT_THAT(error_of("\"revision\": \"" + std::string(5 << 20, 'x') + "\""),
              HasSubstr("more than 4194304 bytes"));
  EXPECT_THAT(error_of("\"auto_mapping\": " + std::string(100'000, '[')),
              HasSubstr("nested too deeply"));
  std::string keys = "\"r\": 8";
  for (int i = 0; i < 17'000; ++i) keys += ", \"" + std::to_string(i) + "\": null";
  EXPECT_THAT(error_of(keys), HasSubstr("more than 16384 keys"));
}

TEST_F(PeftConfigTest, SurvivesRandomDamage) {
  const std::string good = object_of(R"("r": 16, "lora_alpha": 32, "use_rslora": false,
      "rank_pattern": {"^(model)(?!.*(lm_head|emb)).*": 4, "layers\\.[0-9]+\\.x{1,3}": 2},
      "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1, 2], "bias": "none",
      "alora_invocation_tokens": [1, 2, 3], "exclude_modules": null)");
  std::mt19937 random(1);
  int num_read = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string text = good;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % text.size();
      const std::string piece = text.substr(random() % text.size(), 1 + random() % 3);
      text.replace(at, random() % 3, piece);
    }
    try {
      const PeftConfig config = read_text(text);
      config.scale_of(kQ0, config.rank_of(kQ0));
      if (config.selection.is_known()) config.selection.contains(kV1);
      ++num_read;
    } catch (const LoadError& error) {
      EXPECT_THAT(error.what(), HasSubstr("adapter_config.json"));
    }
  }
  EXPECT_GT(num_read, 100);
  EXPECT_LT(num_read, 3900);
}

}  // namespace
}  // namespace quire
