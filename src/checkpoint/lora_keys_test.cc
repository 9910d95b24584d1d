#include "checkpoint/lora_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/safetensors_bytes.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kQ0 = "model.layers.0.self_attn.q_proj";

TEST(LoraKey, IsTakenApart) {
  const LoraKey full = parse_lora_key("", "base_model.model." + kQ0 + ".lora_A.weight");
  EXPECT_EQ(full.module, kQ0);
  EXPECT_EQ(full.matrix, LoraMatrix::kA);
  EXPECT_TRUE(full.is_full);
  EXPECT_EQ(full.adapter_name, "");
  const LoraKey bare = parse_lora_key("", kQ0 + ".lora_B.default.weight");
  EXPECT_EQ(bare.module, kQ0);
  EXPECT_EQ(bare.matrix, LoraMatrix::kB);
  EXPECT_FALSE(bare.is_full);
  EXPECT_EQ(bare.adapter_name, "default");
}

TEST(LoraKey, OfAnotherFeatureIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {kQ0 + ".lora_magnitude_vector", "use_dora"},
      {kQ0 + ".lora_magnitude_vector.default.weight", "use_dora"},
      {kQ0 + ".weight_m_wdecomp.weight", "use_dora"},
      {kQ0 + ".lora_B.bias", "lora_bias"},
      {kQ0 + ".lora_B.default.bias", "lora_bias"},
      {kQ0 + ".lora_diag.weight", "kasa_config"},
      {kQ0 + ".lora_C.weight", "variant of LoRA"},
      {"model.embed_tokens.lora_embedding_A", "embedding's adapter"},
      {"model.embed_tokens.lora_embedding_B", "embedding's adapter"},
      {"model.embed_tokens.token_adapter.trainable_tokens_delta", "trainable_token_indices"},
      {kQ0 + ".bias", "bias"},
      {"lm_head.base_layer.weight", "save_embedding_layers=False"},
      {"lm_head.weight", "modules_to_save"},
      {"lm_head.modules_to_save.default.weight", "modules_to_save"},
      {"weight", "modules_to_save"},
      {"", "modules_to_save"},
      {".lora_A.weight", "variant of LoRA"},
      {kQ0 + ".lora_A.a.b.weight", "variant of LoRA"},
      {kQ0 + ".lora_A..weight", "variant of LoRA"},
      {kQ0 + ".lora_A.weights", "variant of LoRA"},
      {kQ0 + ".lora_A.", "variant of LoRA"}};
  for (const auto& [name, meaning] : cases) {
    EXPECT_THAT(load_error_of([&] { parse_lora_key("file: ", name); }),
                AllOf(HasSubstr("file: "), HasSubstr(meaning), HasSubstr("not supported")))
        << name;
  }
}

size_t find(const std::vector<LoraTarget>& targets, const std::string& module) {
  return LoraTargetNames(targets).find("file: ", module);
}
std::string error_of(const std::vector<LoraTarget>& targets, const std::string& module) {
  return load_error_of([&] { find(targets, module); });
}

TEST(LoraTargetNames, FindsNamesWithAndWithoutTheirBeginning) {
  const std::vector<LoraTarget> targets = {
      {kQ0, 1, 1}, {"h.0.attn.c_attn", 1, 1}, {"lm_head", 1, 1}};
  EXPECT_EQ(find(targets, kQ0), 0U);
  EXPECT_EQ(find(targets, "layers.0.self_attn.q_proj"), 0U);
  EXPECT_EQ(find(targets, "transformer.h.0.attn.c_attn"), 1U);
  EXPECT_EQ(find(targets, "model.lm_head"), 2U);
  EXPECT_THAT(error_of(targets, "0.self_attn.q_proj"), HasSubstr("no linear layer"));
  EXPECT_THAT(error_of(targets, "transformer.layers.0.self_attn.q_proj"),
              HasSubstr("no linear layer"));
}

TEST(LoraTargetNames, FindsTheHeadByEachOfItsNames) {
  const std::vector<LoraTarget> targets = {{kQ0, 1, 1}, {"embed_out", 1, 1, /*is_head=*/true}};
  EXPECT_EQ(find(targets, "embed_out"), 1U);
  EXPECT_EQ(find(targets, "lm_head"), 1U);
}

TEST(LoraTargetNames, RefusesNamesThatMayBeTwo) {
  const std::vector<LoraTarget> targets = {
      {"model.h.0.q", 1, 1}, {"transformer.h.0.q", 1, 1}, {"model.h.1.q", 1, 1}, {"h.1.q", 1, 1}};
  EXPECT_THAT(error_of(targets, "h.0.q"),
              AllOf(HasSubstr("file: 'h.0.q' may be 'model.h.0.q' or 'transformer.h.0.q'")));
  EXPECT_EQ(find(targets, "model.h.1.q"), 2U);  // exactly its name
  EXPECT_EQ(find(targets, "h.1.q"), 3U);
}

TEST(LoraTargetNames, ListsWhatTheModelHas) {
  std::vector<LoraTarget> targets(9);
  for (size_t i = 0; i < 9; ++i) targets[i].name = "model.layers." + std::to_string(i) + ".q";
  EXPECT_THAT(
      error_of(targets, "model.layers.9.q"),
      AllOf(HasSubstr("file: the model has no linear layer 'model.layers.9.q'"),
            HasSubstr("it has 'model.layers.0.q'"), HasSubstr("7.q', ..."), Not(HasSubstr("8.q"))));
}

TEST(LoraTargetNames, SaysThatFusedLayersAreApart) {
  const std::string attention = "model.layers.0.self_attn.", mlp = "model.layers.0.mlp.";
  const std::vector<LoraTarget> targets = {{attention + "q_proj", 1, 1},
                                           {attention + "k_proj", 1, 1},
                                           {attention + "v_proj", 1, 1},
                                           {mlp + "gate_proj", 1, 1},
                                           {mlp + "up_proj", 1, 1}};
  EXPECT_THAT(error_of(targets, attention + "qkv_proj"),
              AllOf(HasSubstr("q_proj, k_proj and v_proj apart"), HasSubstr(attention + "q_proj"),
                    Not(HasSubstr(mlp))));
  EXPECT_THAT(error_of(targets, "layers.0.mlp.gate_up_proj"),
              AllOf(HasSubstr("gate_proj and up_proj apart"), HasSubstr(mlp + "up_proj")));
  EXPECT_THAT(error_of(targets, "model.layers.7.self_attn.qkv_proj"), Not(HasSubstr("apart")));
}

}  // namespace
}  // namespace quire
