#include "cli/lora_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/flags.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using testing::HasSubstr;

struct Parsed {
  LoraFlags flags;
  EngineConfig config;
};

Parsed parse(const CommandArgs& args) {
  CLI::App app("", "test");
  set_up_app(app);
  Parsed parsed;
  add_lora_flags(app, parsed.flags, parsed.config);
  add_lora_modules_flags(app, parsed.flags, parsed.config);
  add_lora_flag(app, parsed.flags);
  EXPECT_TRUE(parse_flags(app, args));
  settle_lora(parsed.flags, parsed.config);
  return parsed;
}

std::string parse_error(const CommandArgs& args) {
  try {
    parse(args);
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

TEST(LoraFlags, AreOffAndWithoutLimitsByDefault) {
  const EngineConfig config = parse({}).config;
  EXPECT_FALSE(config.enable_lora);
  EXPECT_EQ(config.max_loras, 0);
  EXPECT_EQ(config.max_lora_rank, 0);
  EXPECT_EQ(config.max_cpu_loras, 0);
}

TEST(LoraFlags, TakeVllmsValuesAndOthers) {
  const EngineConfig config = parse({"--enable-lora", "--max-loras", "4", "--max-lora-rank=320",
                                     "--max_cpu_loras", "2k", "--lora-dtype", "auto"})
                                  .config;
  EXPECT_TRUE(config.enable_lora);
  EXPECT_EQ(config.max_loras, 4);
  EXPECT_EQ(config.max_lora_rank, 320);
  EXPECT_EQ(config.max_cpu_loras, 2000);
  EXPECT_EQ(parse({"--max-lora-rank", "3"}).config.max_lora_rank, 3);
  EXPECT_THAT(parse_error({"--max-lora-rank", "0"}), HasSubstr("--max-lora-rank"));
  EXPECT_THAT(parse_error({"--max-lora-rank", "513"}), HasSubstr("--max-lora-rank"));
  EXPECT_THAT(parse_error({"--max-loras", "-1"}), HasSubstr("--max-loras"));
}

TEST(LoraFlags, ModulesComeAsPairsAndAsJson) {
  const Parsed parsed =
      parse({"--lora-modules", "a=/x/y=z", R"({"name":"b","path":"org/b","base_model_name":"m"})",
             "--max-loras", "2", "--lora-modules", "c=c",
             R"({"name":"d","path":"d","base_model_name":null})"});
  const auto& modules = parsed.flags.modules;
  ASSERT_EQ(modules.size(), 4U);
  EXPECT_EQ(modules[0].name, "a");
  EXPECT_EQ(modules[0].path, "/x/y=z");
  EXPECT_EQ(modules[1].base_model_name, "m");
  EXPECT_EQ(modules[2].name, "c");
  EXPECT_EQ(modules[3].path, "d");
  EXPECT_TRUE(parsed.config.enable_lora) << "adapters are named";
}

TEST(LoraFlags, BadModulesAreNamed) {
  for (const char* word : {"a", "=b", "a=", "{", "{}", R"({"name":"a"})",
                           R"({"name":1,"path":"b"})", R"({"name":"a","path":"b","rank":3})"}) {
    EXPECT_THAT(parse_error({"--lora-modules", word}), HasSubstr("--lora-modules")) << word;
  }
  EXPECT_THAT(parse_error({"--lora-modules", "a=x", "a=y"}), HasSubstr("two adapters"));
}

TEST(LoraFlags, ContradictionsAreRefused) {
  EXPECT_FALSE(parse({"--no-enable-lora"}).config.enable_lora);
  EXPECT_THAT(parse_error({"--no-enable-lora", "--lora-modules", "a=b"}),
              HasSubstr("--no-enable-lora"));
  EXPECT_THAT(parse_error({"--lora-dir", "/nowhere/at/all"}), HasSubstr("/nowhere/at/all"));
  const TempDir folder;
  EXPECT_TRUE(parse({"--lora-dir", folder.path()}).config.enable_lora);
}

TEST(LoraFlags, OneAdapterForTheRun) {
  const Parsed pair = parse({"--lora", "a=/x"});
  EXPECT_EQ(pair.flags.lora, "a");
  EXPECT_EQ(pair.flags.modules.front().path, "/x");
  const Parsed path = parse({"--lora", "quire-demo/sql/"});
  EXPECT_EQ(path.flags.lora, "sql");
  EXPECT_EQ(path.flags.modules.front().path, "quire-demo/sql/");
  const Parsed named = parse({"--lora-modules", "a=/x", "b=/y", "--lora", "b"});
  EXPECT_EQ(named.flags.lora, "b");
  EXPECT_EQ(named.flags.modules.size(), 2U);
  EXPECT_THAT(parse_error({"--lora", "a="}), HasSubstr("--lora a="));
}

}  // namespace
}  // namespace quire
