#include "cli/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <set>
#include <sstream>

#include "base/error.h"
#include "cli/edit_distance.h"
#include "cli/engine_flags.h"
#include "cli/vllm_flags.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using testing::HasSubstr;

EngineFlags parse_engine(const CommandArgs& args) {
  CLI::App app("", "test");
  set_up_app(app);
  EngineFlags flags;
  add_engine_flags(app, flags);
  std::string config_file;
  app.add_option("--config", config_file, "");
  EXPECT_TRUE(parse_flags(app, args));
  settle_model(flags);
  return flags;
}

std::string parse_error(const CommandArgs& args) {
  try {
    parse_engine(args);
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

TEST(Flags, DefaultsAreTheEngines) {
  const EngineConfig config = parse_engine({}).config;
  const EngineConfig defaults;
  EXPECT_EQ(config.model, "quire-demo");
  EXPECT_EQ(config.max_num_seqs, defaults.max_num_seqs);
  EXPECT_EQ(config.kv_cache_memory_bytes, 0);
  EXPECT_TRUE(config.enable_prefix_caching);
  EXPECT_EQ(config.dtype, "auto");
}

TEST(Flags, SetEveryEngineField) {
  std::istringstream words(
      "org/model --dtype bfloat16 --max-model-len 32K --max-num-seqs=64 "
      "--max_num_batched_tokens 4k --block-size 32 --kv-cache-memory-bytes 2G "
      "--no-enable-prefix-caching --no-enable-chunked-prefill --long-prefill-token-threshold 512 "
      "--scheduling-policy priority --seed 7 --load-format dummy --tokenizer /t --cpu-isa avx2 "
      "--num-threads 3 --no-async-scheduling --no-pin-threads --max-queue-len 9 "
      "--generation-config vllm");
  const EngineFlags flags = parse_engine({std::istream_iterator<std::string>(words), {}});
  const EngineConfig& config = flags.config;
  EXPECT_EQ(config.model, "org/model");
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_EQ(config.max_model_len, 32 * 1024);
  EXPECT_EQ(config.max_num_seqs, 64);
  EXPECT_EQ(config.max_num_batched_tokens, 4000);
  EXPECT_EQ(config.block_size, 32);
  EXPECT_EQ(config.kv_cache_memory_bytes, int64_t{2} << 30);
  EXPECT_FALSE(config.enable_prefix_caching);
  EXPECT_FALSE(config.enable_chunked_prefill);
  EXPECT_EQ(config.long_prefill_token_threshold, 512);
  EXPECT_EQ(config.scheduling_policy, SchedulingPolicy::kPriority);
  EXPECT_EQ(config.seed, 7U);
  EXPECT_EQ(config.load_format, "dummy");
  EXPECT_EQ(config.tokenizer, "/t");
  EXPECT_EQ(config.cpu_isa, "avx2");
  EXPECT_EQ(config.num_threads, 3);
  EXPECT_FALSE(config.async_scheduling);
  EXPECT_FALSE(config.pin_threads);
  EXPECT_EQ(config.max_queue_len, 9);
  EXPECT_EQ(flags.generation_config, "vllm");
}

TEST(Flags, MaxModelLenAutoMeansTheModels) {
  EXPECT_EQ(parse_engine({"--max-model-len", "auto"}).config.max_model_len, 0);
  EXPECT_EQ(parse_engine({"--max-model-len", "-1"}).config.max_model_len, 0);
  EXPECT_THAT(parse_error({"--max-model-len", "0"}), HasSubstr("out of range"));
}

TEST(Flags, ModelFlagAndPositionalMustAgree) {
  EXPECT_EQ(parse_engine({"--model", "a"}).config.model, "a");
  EXPECT_EQ(parse_engine({"a", "--model", "a"}).config.model, "a");
  EXPECT_THAT(parse_error({"a", "--model", "b"}), HasSubstr("MODEL is a but --model is b"));
}

TEST(Flags, UnsupportedVllmFlagsSayWhatToUse) {
  struct Case {
    CommandArgs args;
    const char* advice;
  };
  const Case cases[] = {
      {{"--tensor-parallel-size", "2"}, "--num-threads"},
      {{"-tp", "2"}, "--num-threads"},
      {{"m", "--quantization", "awq"}, "unquantised"},
      {{"--qlora-adapter-name-or-path", "a"}, "--lora-modules"},
      {{"--lora-target-modules", "q_proj"}, "all the modules"},
      {{"--lora-dtype", "float16"}, "the model's dtype"},
      {{"--default-mm-loras", "{}"}, "images"},
      {{"--tool-call-parser", "hermes"}, "tool calls"},
      {{"--enable-auto-tool-choice"}, "tool calls"},
      {{"--reasoning-parser", "qwen3"}, "reasoning"},
      {{"--speculative-config", "{}"}, "speculative"},
      {{"--speculative-config.method", "ngram"}, "speculative"},
      {{"--kv-cache-dtype", "fp8"}, "--dtype"},
      {{"--swap-space", "4"}, "--kv-cache-memory-bytes"},
      {{"--ssl-keyfile", "k"}, "proxy"},
      {{"--uds", "/s"}, "--host and --port"},
      {{"--root-path", "/x"}, "proxy"},
      {{"--allowed-origins", "[]"}, "CORS"},
  };
  for (const Case& c : cases) {
    const std::string error = parse_error(c.args);
    EXPECT_THAT(error, HasSubstr("is not supported")) << c.args[0];
    EXPECT_THAT(error, HasSubstr(c.advice)) << c.args[0];
  }
}

TEST(Flags, IrrelevantVllmFlagsAreDroppedWithTheirValues) {
  const EngineFlags flags =
      parse_engine({"--trust-remote-code", "--enforce-eager", "m", "--max-log-len", "100",
                    "--no-enable-eplb", "--fully-sharded-loras", "--lora-extra-vocab-size", "0"});
  EXPECT_EQ(flags.config.model, "m");
}

TEST(Flags, UnknownFlagSuggestsTheNearest) {
  EXPECT_THAT(parse_error({"--max-model-length", "5"}), HasSubstr("did you mean --max-model-len?"));
  EXPECT_THAT(parse_error({"--dtipe", "x"}), HasSubstr("did you mean --dtype?"));
  EXPECT_THAT(parse_error({"--zzzzzzzzzzzz"}), testing::Not(HasSubstr("did you mean")));
}

TEST(Flags, BadValuesNameTheFlag) {
  EXPECT_THAT(parse_error({"--max-num-seqs", "0"}), HasSubstr("--max-num-seqs"));
  EXPECT_THAT(parse_error({"--kv-cache-memory-bytes", "lots"}),
              HasSubstr("--kv-cache-memory-bytes"));
  EXPECT_THAT(parse_error({"--dtype", "int3"}), HasSubstr("--dtype"));
  EXPECT_THAT(parse_error({"--seed"}), HasSubstr("--seed"));
}

TEST(Flags, VllmTableHasNoDuplicatesAndNoOwnFlags) {
  CLI::App app("", "test");
  EngineFlags flags;
  add_engine_flags(app, flags);
  std::set<std::string> names;
  for (const VllmFlag& row : vllm_flags()) {
    std::istringstream words{std::string(row.names)};
    for (std::string name; words >> name;) {
      EXPECT_TRUE(names.insert(name).second) << name;
      EXPECT_EQ(app.get_option_no_throw(name), nullptr) << name << " is supported";
    }
  }
  EXPECT_GT(names.size(), 200U);
}

TEST(Flags, TheLastOfTwoCounts) {
  const EngineConfig config =
      parse_engine({"--seed", "1", "--max-num-seqs=8", "--dtype", "float16", "--seed=2",
                    "--no-async-scheduling", "--max-num-seqs", "4", "--async-scheduling"})
          .config;
  EXPECT_EQ(config.seed, 2U);
  EXPECT_EQ(config.max_num_seqs, 4);
  EXPECT_TRUE(config.async_scheduling);
}

TEST(ConfigFile, GivesFlagsThatTheCommandLineOverrides) {
  const TempDir dir;
  const std::string path = dir.write("c.yaml",
                                     "# comment\nmodel: m  # trailing\nmax_model_len: 4K\n"
                                     "enable-prefix-caching: false\nseed: 3\ndtype: \"float32\"\n");
  const EngineConfig config = parse_engine({"--config", path, "--seed", "9"}).config;
  EXPECT_EQ(config.model, "m");
  EXPECT_EQ(config.max_model_len, 4096);
  EXPECT_FALSE(config.enable_prefix_caching);
  EXPECT_EQ(config.dtype, "float32");
  EXPECT_EQ(config.seed, 9U);
}

TEST(ConfigFile, ReadsBothFormsOfLists) {
  const TempDir dir;
  const std::string path =
      dir.write("c.yaml", "served-model-name: [a, 'b c']\napi-key:\n  - k1\n  - k2\n");
  EXPECT_EQ(read_config_file(path, {}),
            (CommandArgs{"--served-model-name=a", "--served-model-name=b c", "--api-key=k1",
                         "--api-key=k2"}));
  EXPECT_EQ(read_config_file(path, {"--api-key=x"}),
            (CommandArgs{"--served-model-name=a", "--served-model-name=b c"}));
}

TEST(ConfigFile, NamesTheLineItCannotRead) {
  const TempDir dir;
  const std::string path = dir.write("c.yaml", "seed: 1\nnested:\n  key: 2\n");
  EXPECT_THAT(parse_error({"--config", path}), HasSubstr("c.yaml:3"));
  EXPECT_THAT(parse_error({"--config", "/nonexistent"}), HasSubstr("cannot read"));
}

TEST(EditDistance, CountsChanges) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

}  // namespace
}  // namespace quire
