// Loading: what is refused, and how a loaded model behaves besides its logits (tests/golden).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>

#include "models/model.h"
#include "support/safetensors_bytes.h"
#include "support/single_sequence.h"
#include "support/temp_dir.h"

namespace {
std::atomic<int64_t> num_allocations = 0;
}  // namespace

#if !__has_feature(thread_sanitizer)  // which brings its own, that cannot be replaced
// Counts what the program allocates; sizes and alignment as the standard's own.
void* operator new(std::size_t size) {
  ++num_allocations;
  if (void* data = std::malloc(size == 0 ? 1 : size)) return data;
  throw std::bad_alloc();
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
#endif

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kCheckpoints = std::string(QUIRE_SOURCE_DIR) + "/tests/golden/checkpoints/";

class LoadModel : public ::testing::Test {
 protected:
  LoadedModel load(const ModelLoadOptions& options) {
    return load_model(load_model_config(options.directory), options, kernels, stream);
  }
  // Copies a checkpoint of one file into `directory`, for the test to change.
  void use(const std::string& checkpoint) {
    directory.write("config.json", read_bytes(kCheckpoints + checkpoint + "/config.json"));
    directory.write("model.safetensors",
                    read_bytes(kCheckpoints + checkpoint + "/model.safetensors"));
    tensors = read_safetensors(directory.path() + "/model.safetensors");
  }
  void change_config(const std::string& key, const nlohmann::json& value) {
    nlohmann::json config = nlohmann::json::parse(read_bytes(directory.path() + "/config.json"));
    config[key] = value;
    directory.write("config.json", config.dump());
  }
  // The error of loading what `tensors` holds.
  std::string error() {
    directory.write("model.safetensors", safetensors_bytes(tensors));
    return load_error_of([&] { load({.directory = directory.path()}); });
  }

  ThreadPool pool{{.num_threads = 2, .pin_threads = false}};
  Stream stream{pool};
  const KernelTable& kernels = *all_tables().back();
  TempDir directory;
  StoredTensors tensors;
};

TEST_F(LoadModel, TakesTheCheckpointsTypeUnlessToldOtherwise) {
  EXPECT_EQ(load({.directory = kCheckpoints + "llama"}).dtype, DType::kBF16);
  EXPECT_EQ(load({.directory = kCheckpoints + "llama_bias"}).dtype, DType::kF16);
  EXPECT_EQ(load({.directory = kCheckpoints + "gpt2_bare"}).dtype, DType::kF32);
  EXPECT_EQ(load({.directory = kCheckpoints + "llama", .dtype = "half"}).dtype, DType::kF16);
  EXPECT_THAT(load_error_of([&] { load({.directory = kCheckpoints + "llama", .dtype = "int4"}); }),
              AllOf(HasSubstr("int4"), HasSubstr("bfloat16")));
}

TEST_F(LoadModel, ReportsShapes) {
  const LoadedModel gemma = load({.directory = kCheckpoints + "gemma2"});
  ASSERT_EQ(gemma.model->attention_layers().size(), 4U);
  EXPECT_EQ(gemma.model->attention_layers()[0].sliding_window, 12);
  EXPECT_EQ(gemma.model->attention_layers()[1].sliding_window, 0);
  EXPECT_EQ(gemma.model->attention_layers()[1].head_dim, 32);
  EXPECT_EQ(gemma.model->attention_layers()[1].num_kv_heads, 2);
  EXPECT_EQ(gemma.model->hidden_size(), 64);
  EXPECT_EQ(gemma.model->vocab_size(), 256);
  EXPECT_GT(gemma.model->weight_bytes(), 2 * 150'000);
}

TEST_F(LoadModel, CountsTheLayersWithoutEmbeddingsAndHead) {
  const KernelTable& reference = *all_tables().front();  // its weights have no padding
  for (const char* name : {"llama", "gpt2", "gpt_neox"}) {
    const ModelConfig config = load_model_config(kCheckpoints + name);
    const LoadedModel loaded = load_model(
        config, {.directory = kCheckpoints + name, .dtype = "float32"}, reference, stream);
    const int64_t hidden = config.hidden_size;
    const int64_t table = config.vocab_size * hidden;  // of the embedding, and of the head
    const bool is_gpt2 = std::string_view(name) == "gpt2";
    const int64_t positions = is_gpt2 ? config.max_position_embeddings * hidden : 0;
    const int64_t final_norm = std::string_view(name) == "llama" ? hidden : 2 * hidden;
    EXPECT_EQ(loaded.model->weight_bytes() - loaded.model->layer_weight_bytes(),
              (2 * table + positions + final_norm) * 4)
        << name;
  }
}

TEST_F(LoadModel, RefusesUnknownArchitectureListingTheKnown) {
  use("llama");
  change_config("architectures", {"MambaForCausalLM"});
  EXPECT_THAT(error(), AllOf(HasSubstr("'MambaForCausalLM'"), HasSubstr("LlamaForCausalLM"),
                             HasSubstr("GPT2LMHeadModel")));
}

TEST_F(LoadModel, RefusesUnknownLoadFormat) {
  EXPECT_THAT(
      load_error_of([&] { load({.directory = kCheckpoints + "llama", .load_format = "gguf"}); }),
      AllOf(HasSubstr("'gguf'"), HasSubstr("dummy")));
}

TEST_F(LoadModel, NamesMissingTensor) {
  use("llama");
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_THAT(error(), HasSubstr("'model.layers.1.mlp.up_proj.weight' is missing"));
}

TEST_F(LoadModel, NamesLeftOverTensor) {
  use("llama");
  tensors["model.layers.0.self_attn.q_proj.bias"] = {"F32", {64}, std::string(256, '\0')};
  EXPECT_THAT(error(),
              AllOf(HasSubstr("model.layers.0.self_attn.q_proj.bias"), HasSubstr("no place")));
}

TEST_F(LoadModel, IgnoresBuffersThatOldCheckpointsHold) {
  use("llama");
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"F32", {8}, std::string(32, '\0')};
  EXPECT_EQ(error(), "");
  use("gpt_neox");
  tensors["gpt_neox.layers.0.attention.bias"] = {"BOOL", {1, 1, 4, 4}, std::string(16, '\1')};
  tensors["gpt_neox.layers.0.attention.masked_bias"] = {"F32", {}, std::string(4, '\0')};
  EXPECT_EQ(error(), "");
}

TEST_F(LoadModel, NamesWrongShapeAndType) {
  use("qwen3");
  const std::string name = "model.layers.0.self_attn.q_norm.weight";
  const StoredTensor good = tensors.at(name);
  tensors[name] = {"BF16", {32}, std::string(64, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(name), HasSubstr("[32]"), HasSubstr("[64]")));
  tensors[name] = {"I64", {64}, std::string(512, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(name), HasSubstr("I64")));
  tensors[name] = {"I32", {64}, std::string(256, '\0')};
  EXPECT_THAT(error(), AllOf(HasSubstr(name), HasSubstr("I32")));
  tensors[name] = good;
  EXPECT_EQ(error(), "");
}

TEST_F(LoadModel, RefusesMoreTokensThanLearnedPositions) {
  EXPECT_THAT(
      load_error_of([&] { load({.directory = kCheckpoints + "gpt2", .max_model_len = 97}); }),
      AllOf(HasSubstr("96"), HasSubstr("97"), HasSubstr("--max-model-len")));
}

TEST_F(LoadModel, RefusesUnknownActivationAndLayerType) {
  use("llama");
  change_config("hidden_act", "mish");
  EXPECT_THAT(error(), AllOf(HasSubstr("'hidden_act'"), HasSubstr("mish"), HasSubstr("silu")));
  use("gemma2");
  change_config("layer_types",
                {"full_attention", "chunked_attention", "full_attention", "full_attention"});
  EXPECT_THAT(error(), AllOf(HasSubstr("'layer_types'"), HasSubstr("chunked_attention")));
  change_config("layer_types", {"full_attention"});
  EXPECT_THAT(error(), HasSubstr("num_hidden_layers"));
}

TEST_F(LoadModel, DummyWeightsNeedOnlyTheConfiguration) {
  for (const char* checkpoint :
       {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt_neox", "gpt2"}) {
    const TempDir config_only;
    config_only.write("config.json", read_bytes(kCheckpoints + checkpoint + "/config.json"));
    const LoadedModel loaded =
        load({.directory = config_only.path(), .load_format = "dummy", .seed = 3});
    SingleSequence sequence(*loaded.model, kernels, stream, {.cache_dtype = loaded.dtype});
    const std::vector<int32_t> tokens = {1, 2, 3};
    const std::vector<float> logits = sequence.append(tokens).back();
    float magnitude = 0.0F;
    for (float logit : logits) magnitude = std::max(magnitude, std::abs(logit));
    EXPECT_TRUE(std::isfinite(magnitude)) << checkpoint;
    EXPECT_GT(magnitude, 0.0F) << checkpoint;
  }
}

// Counts the allocations of the model alone, from within a sequence's own.
class CountingModel : public Model {
 public:
  explicit CountingModel(Model& model) : model_(model) {}
  void forward(ForwardContext& context, const TensorView& hidden) override {
    const int64_t before = num_allocations;
    model_.forward(context, hidden);
    num_counted += num_allocations - before;
  }
  void compute_logits(ForwardContext& context, const TensorView& hidden,
                      const TensorView& logits) override {
    const int64_t before = num_allocations;
    model_.compute_logits(context, hidden, logits);
    num_counted += num_allocations - before;
  }
  const std::vector<AttentionLayerShape>& attention_layers() const override {
    return model_.attention_layers();
  }
  int hidden_size() const override { return model_.hidden_size(); }
  int vocab_size() const override { return model_.vocab_size(); }
  int64_t weight_bytes() const override { return model_.weight_bytes(); }
  int64_t layer_weight_bytes() const override { return model_.layer_weight_bytes(); }
  int64_t num_counted = 0;

 private:
  Model& model_;
};

TEST_F(LoadModel, AStepAllocatesNothingAfterWarmUp) {
  for (const char* checkpoint : {"llama", "gemma2", "gpt_neox", "gpt2"}) {
    const LoadedModel loaded = load({.directory = kCheckpoints + checkpoint});
    CountingModel counting(*loaded.model);
    SingleSequence sequence(counting, kernels, stream, {.cache_dtype = loaded.dtype});
    const std::vector<int32_t> tokens(20, 1);
    sequence.append(tokens);
    counting.num_counted = 0;
    sequence.append(tokens);
    sequence.append({tokens.data(), 1});
    EXPECT_EQ(counting.num_counted, 0) << checkpoint;
  }
}

}  // namespace
}  // namespace quire
