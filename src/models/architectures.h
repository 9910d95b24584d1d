// One constructor per architecture; registry.cc holds the table of them.
#pragma once

#include <memory>

#include "models/model.h"
#include "nn/build_context.h"

namespace quire {

std::unique_ptr<Model> make_llama(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_mistral(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_qwen2(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_qwen3(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_gemma2(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_gpt_neox(const BuildContext& build, const ModelConfig& config);
std::unique_ptr<Model> make_gpt2(const BuildContext& build, const ModelConfig& config);

}  // namespace quire
