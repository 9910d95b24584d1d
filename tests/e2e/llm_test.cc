// The public C++ API with the bundled tokenizer and random weights.
#include "quire/llm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <thread>

#include "support/random_adapter.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
  "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 6144, "max_position_embeddings": 256,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
  "bos_token_id": 0, "eos_token_id": 1})";

class LLMTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<TempDir>();
    directory_->write("config.json", kConfig);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(std::string(QUIRE_SOURCE_DIR "/models/quire-demo/") + name,
                                 directory_->path() + "/" + name);
    }
    LLMOptions options;
    options.model = directory_->path();
    options.load_format = "dummy";
    options.num_threads = 1;
    llm_ = std::make_unique<LLM>(options);
  }
  static void TearDownTestSuite() {
    llm_.reset();
    directory_.reset();
  }
  static SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0.0F;
    params.ignore_eos = true;
    return params;
  }

  static GenerationRequest request(const std::string& prompt, int max_tokens) {
    GenerationRequest request{.prompt = prompt, .params = greedy()};
    request.params.max_tokens = max_tokens;
    return request;
  }

  static std::unique_ptr<TempDir> directory_;
  static std::unique_ptr<LLM> llm_;
};
std::unique_ptr<TempDir> LLMTest::directory_;
std::unique_ptr<LLM> LLMTest::llm_;

TEST_F(LLMTest, AnswersInTheOrderOfThePrompts) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(request("Prompt number " + std::to_string(i), 12 - i));
  }
  std::vector<size_t> finished;  // later prompts finish first
  const std::vector<RequestOutput> outputs =
      llm_->generate(requests, {.on_finished =
                                    [&](size_t index, const RequestOutput& output) {
                                      EXPECT_TRUE(output.finished);
                                      finished.push_back(index);
                                    },
                                .should_stop = nullptr});
  ASSERT_EQ(outputs.size(), 12U);
  EXPECT_EQ(finished.size(), 12U);
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(outputs[i].prompt, std::get<std::string>(requests[i].prompt));
    ASSERT_EQ(outputs[i].outputs.size(), 1U);
    EXPECT_EQ(outputs[i].outputs[0].token_ids.size(), 12 - i);
    EXPECT_FALSE(outputs[i].outputs[0].text.empty());
    EXPECT_EQ(outputs[i].outputs[0].finish_reason, FinishReason::kLength);
  }
}

TEST_F(LLMTest, TextAndTokenIdsAreTheSamePrompt) {
  const std::vector<RequestOutput> text = llm_->generate({Prompt("Hello there")}, greedy());
  const std::vector<RequestOutput> ids =
      llm_->generate({Prompt(text[0].prompt_token_ids)}, greedy());
  EXPECT_EQ(text[0].outputs[0].token_ids, ids[0].outputs[0].token_ids);
  EXPECT_EQ(text[0].outputs[0].text, ids[0].outputs[0].text);
}

TEST_F(LLMTest, AStopStringEndsTheTextBeforeIt) {
  SamplingParams params = greedy();
  params.max_tokens = 24;
  const std::string whole = llm_->generate({Prompt("Once")}, params)[0].outputs[0].text;
  ASSERT_GT(whole.size(), 8U);
  params.stop = {whole.substr(whole.size() / 2, 3)};
  const CompletionOutput stopped = llm_->generate({Prompt("Once")}, params)[0].outputs[0];
  EXPECT_EQ(stopped.text, whole.substr(0, whole.find(params.stop[0])));
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(stopped.stop_reason), params.stop[0]);
  EXPECT_LT(stopped.token_ids.size(), 24U);
}

TEST_F(LLMTest, ChildrenOfOnePromptDifferAndASeedRepeatsThem) {
  SamplingParams params;
  params.n = 3;
  params.seed = 7;
  params.ignore_eos = true;
  const std::vector<CompletionOutput> first = llm_->generate({Prompt("Once")}, params)[0].outputs;
  const std::vector<CompletionOutput> again = llm_->generate({Prompt("Once")}, params)[0].outputs;
  ASSERT_EQ(first.size(), 3U);
  EXPECT_NE(first[0].token_ids, first[1].token_ids);
  EXPECT_NE(first[1].token_ids, first[2].token_ids);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(first[i].index, static_cast<int>(i));
    EXPECT_EQ(first[i].token_ids, again[i].token_ids);
  }
}

TEST_F(LLMTest, ReportsLogprobsOfPromptAndOutput) {
  SamplingParams params = greedy();
  params.max_tokens = 4;
  params.logprobs = 2;
  params.prompt_logprobs = 1;
  const RequestOutput output = llm_->generate({Prompt("Some words to score")}, params)[0];
  ASSERT_EQ(output.prompt_logprobs.size(), output.prompt_token_ids.size());
  EXPECT_TRUE(output.prompt_logprobs[0].empty());
  for (size_t i = 1; i < output.prompt_logprobs.size(); ++i) {
    ASSERT_EQ(output.prompt_logprobs[i].size(), 2U);
    EXPECT_EQ(output.prompt_logprobs[i][0].token_id, output.prompt_token_ids[i]);
  }
  const CompletionOutput& completion = output.outputs[0];
  ASSERT_EQ(completion.logprobs.size(), 4U);
  double sum = 0.0;
  for (const PositionLogprobs& position : completion.logprobs) {
    ASSERT_EQ(position.size(), 3U);
    EXPECT_EQ(position[0].rank, 1) << "greedy";
    sum += static_cast<double>(position[0].logprob);
  }
  EXPECT_DOUBLE_EQ(completion.cumulative_logprob, sum);
}

TEST_F(LLMTest, BadParametersThrowAndTheEngineGoesOn) {
  SamplingParams params;
  params.top_p = 0.0F;
  EXPECT_THROW(llm_->generate({Prompt("x")}, params), std::invalid_argument);
  EXPECT_THROW(llm_->generate({Prompt(std::vector<int32_t>{})}, greedy()), std::invalid_argument);
  EXPECT_THROW(llm_->generate({Prompt(std::vector<int32_t>(300, 5))}, greedy()),
               std::invalid_argument);
  EXPECT_EQ(llm_->generate({Prompt("x")}, greedy()).size(), 1U);
}

TEST_F(LLMTest, ACallbackThatThrowsLeavesNothingBehind) {
  const std::vector<Prompt> prompts(6, Prompt("Once"));
  const std::vector<GenerationRequest> requests(6, request("Once", 16));
  EXPECT_THROW(
      llm_->generate(
          requests,
          {.on_finished = [](size_t, const RequestOutput&) { throw std::runtime_error("enough"); },
           .should_stop = nullptr}),
      std::runtime_error);
  EXPECT_EQ(llm_->generate(prompts, greedy()).size(), 6U);
}

TEST_F(LLMTest, StoppingEndsWhatIsLeftWithAbort) {
  const std::vector<GenerationRequest> requests(300, request("Once", 240));
  const std::vector<RequestOutput> outputs =
      llm_->generate(requests, {.on_finished = nullptr, .should_stop = [] { return true; }});
  ASSERT_EQ(outputs.size(), 300U);
  for (const RequestOutput& output : outputs) {
    EXPECT_TRUE(output.finished);
    ASSERT_EQ(output.outputs.size(), 1U);
    EXPECT_EQ(output.outputs[0].finish_reason, FinishReason::kAbort);
    EXPECT_EQ(output.prompt, "Once");
  }
}

TEST_F(LLMTest, AStreamGivesInPiecesWhatGenerateGivesAtOnce) {
  GenerationRequest asked = request("Once upon", 20);
  asked.params.temperature = 1.0F;
  asked.params.seed = 3;
  asked.params.n = 2;
  asked.params.logprobs = 1;
  asked.params.prompt_logprobs = 1;
  const RequestOutput whole = llm_->generate({asked})[0];
  RequestStream stream = llm_->stream(asked);
  RequestOutput joined;
  int num_pieces = 0;
  while (const std::optional<RequestOutput> piece = stream.next()) {
    if (num_pieces++ == 0) {
      EXPECT_EQ(piece->prompt_token_ids, whole.prompt_token_ids);
      EXPECT_EQ(piece->prompt_logprobs.size(), whole.prompt_token_ids.size());
    } else {
      EXPECT_TRUE(piece->prompt_token_ids.empty());
    }
    joined.finished = piece->finished;
    joined.outputs.resize(2);
    for (const CompletionOutput& part : piece->outputs) {
      CompletionOutput& completion = joined.outputs[static_cast<size_t>(part.index)];
      completion.text += part.text;
      completion.token_ids.insert(completion.token_ids.end(), part.token_ids.begin(),
                                  part.token_ids.end());
      completion.cumulative_logprob = part.cumulative_logprob;
    }
  }
  EXPECT_TRUE(joined.finished);
  EXPECT_GT(num_pieces, 1);
  EXPECT_EQ(stream.num_unfinished(), 0U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(joined.outputs[i].text, whole.outputs[i].text);
    EXPECT_EQ(joined.outputs[i].token_ids, whole.outputs[i].token_ids);
    EXPECT_EQ(joined.outputs[i].cumulative_logprob, whole.outputs[i].cumulative_logprob);
  }
}

TEST_F(LLMTest, AnAbortedRequestOfAStreamEndsAndTheOthersGoOn) {
  RequestStream stream = llm_->stream();
  GenerationRequest aborted = request("Once", 240);
  aborted.request_id = "aborted";
  EXPECT_EQ(stream.add(aborted), "aborted");
  EXPECT_THROW(stream.add(aborted), std::invalid_argument);
  const std::string other = stream.add(request("Twice", 8));
  stream.abort("aborted");
  stream.abort("unknown");
  size_t num_tokens = 0;
  std::optional<FinishReason> reason;
  while (const std::optional<RequestOutput> output = stream.next()) {
    if (output->request_id == other) {
      num_tokens += output->outputs[0].token_ids.size();
    } else {
      reason = output->outputs[0].finish_reason;
    }
  }
  EXPECT_EQ(reason, FinishReason::kAbort);
  EXPECT_EQ(num_tokens, 8U);
  EXPECT_EQ(stream.add(aborted), "aborted") << "the id is free again";
}

TEST_F(LLMTest, AStreamThatWaitsCanBeWoken) {
  RequestStream stream = llm_->stream();
  std::thread waker([&] { stream.wake(); });
  EXPECT_TRUE(stream.poll(std::chrono::hours(1)).empty());
  waker.join();
}

TEST_F(LLMTest, CallersOnManyThreadsShareTheEngine) {
  const RequestOutput alone = llm_->generate({request("Once", 12)})[0];
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (const RequestOutput& output : llm_->generate({request("Once", 12), request("A", 5)})) {
        if (output.prompt == "Once") {
          EXPECT_EQ(output.outputs[0].token_ids, alone.outputs[0].token_ids);
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(LLMTest, ReportsWhenThingsHappened) {
  const RequestMetrics metrics = llm_->generate({request("Once", 4)})[0].metrics;
  EXPECT_GT(metrics.arrival_time_s, 0.0);
  EXPECT_GE(metrics.scheduled_time_s, metrics.arrival_time_s);
  EXPECT_GE(metrics.first_token_time_s, metrics.scheduled_time_s);
  EXPECT_GE(metrics.last_token_time_s, metrics.first_token_time_s);
}

TEST_F(LLMTest, ChatGoesThroughTheModelsTemplate) {
  const std::string text = llm_->apply_chat_template(
      {.messages = R"([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])"});
  EXPECT_EQ(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(llm_->apply_chat_template({.messages = R"([{"role": "user", "content": "a"},
                                                      {"role": "assistant", "content": "b "}])",
                                       .add_generation_prompt = false,
                                       .continue_final_message = true}),
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb ");
  EXPECT_EQ(llm_->apply_chat_template({.messages = R"([{"role": "user", "content": "a"}])",
                                       .template_kwargs = R"({"extra": "!"})",
                                       .chat_template = "{{ messages[0].content }}{{ extra }}"}),
            "a!");
  const RequestOutput answer = llm_->chat({{.role = "user", .content = "Hi"}}, greedy());
  EXPECT_EQ(answer.prompt_token_ids, llm_->encode(text, false));
  EXPECT_EQ(answer.outputs[0].token_ids.size(), 16U);
  for (const char* messages : {"", "[]", "{}", "[{]", R"([{"content": "a"}])"}) {
    EXPECT_THROW(llm_->apply_chat_template({.messages = messages}), std::invalid_argument);
  }
}

TEST_F(LLMTest, TellsOfModelAndTokenizer) {
  EXPECT_EQ(llm_->info().vocab_size, 6144);
  EXPECT_EQ(llm_->info().max_model_len, 256);
  EXPECT_EQ(llm_->info().architecture, "LlamaForCausalLM");
  EXPECT_EQ(llm_->decode(llm_->encode("Hello there", false)), "Hello there");
  const int32_t eos = llm_->token_to_id(llm_->info().eos_token);
  EXPECT_GE(eos, 0);
  EXPECT_EQ(llm_->id_to_token(eos), llm_->info().eos_token);
  EXPECT_EQ(llm_->token_to_id("no such token"), -1);
}

TEST_F(LLMTest, APriorityNeedsThePolicyForIt) {
  GenerationRequest urgent = request("Once", 4);
  urgent.priority = -1;
  EXPECT_THROW(llm_->generate({urgent}), std::invalid_argument);
}

TEST_F(LLMTest, AdaptersAndTheBaseModelShareABatch) {
  LLMOptions options;
  options.model = directory_->path();
  options.load_format = "dummy";
  options.num_threads = 1;
  options.enable_lora = true;
  LLM llm(options);
  const std::vector<LoraTarget> targets = {{"model.layers.0.self_attn.q_proj", 64, 64},
                                           {"model.layers.1.self_attn.q_proj", 64, 64}};
  const RandomAdapter adapter(targets, {.seed = 1, .rank = 4, .modules = {"q_proj"}});
  const GenerationRequest base = request("Once", 12);
  GenerationRequest adapted = base;
  adapted.lora_request = {.lora_name = "a", .lora_int_id = 1, .lora_path = adapter.path()};
  const std::vector<int32_t> alone = llm.generate({adapted})[0].outputs[0].token_ids;
  adapted.lora_request->lora_path = "";  // its name is known now
  const std::vector<RequestOutput> together = llm.generate({base, adapted});
  EXPECT_EQ(together[0].outputs[0].token_ids, llm_->generate({base})[0].outputs[0].token_ids);
  EXPECT_EQ(together[1].outputs[0].token_ids, alone);
  EXPECT_NE(together[0].outputs[0].token_ids, alone);
  adapted.lora_request->lora_name = "unknown";
  EXPECT_THROW(llm.generate({adapted}), std::invalid_argument);
  EXPECT_THROW(llm_->generate({adapted}), std::invalid_argument) << "without enable_lora";
}

TEST_F(LLMTest, OptionsThatCannotWorkAreNamed) {
  const auto message_of = [](auto change) {
    LLMOptions options;
    options.model = directory_->path();
    options.load_format = "dummy";
    change(options);
    try {
      LLM llm(options);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message_of([](LLMOptions& o) { o.max_model_len = 9999; }),
              testing::StartsWith("max_model_len 9999 exceeds"));
  EXPECT_THAT(message_of([](LLMOptions& o) { o.gpu_memory_utilization = 1.5; }),
              testing::StartsWith("gpu_memory_utilization must be"));
  EXPECT_THAT(message_of([](LLMOptions& o) { o.scheduling_policy = "random"; }),
              testing::StartsWith("scheduling_policy must be"));
}

TEST_F(LLMTest, AStreamOutlivesItsLLM) {
  LLMOptions options;
  options.model = directory_->path();
  options.load_format = "dummy";
  options.num_threads = 1;
  auto llm = std::make_unique<LLM>(options);
  RequestStream stream = llm->stream(request("Once", 6));
  llm.reset();
  std::optional<RequestOutput> last;
  while (std::optional<RequestOutput> output = stream.next()) last = std::move(output);
  EXPECT_TRUE(last->finished);
}

TEST(LLM, AModelThatIsNotThereCannotBeLoaded) {
  LLMOptions options;
  options.model = "nobody/nothing";
  EXPECT_THROW(LLM llm(options), std::runtime_error);
  EXPECT_THROW(find_model("nobody/nothing"), std::runtime_error);
}

}  // namespace
}  // namespace quire
