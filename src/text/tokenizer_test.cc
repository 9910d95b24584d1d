#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/detokenizer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

const fs::path kGolden = fs::path(QUIRE_SOURCE_DIR) / "tests/golden/text/tokenizer_cases.json";
const fs::path kData = fs::path(QUIRE_SOURCE_DIR) / "../shared/data";

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// A directory that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "quire_text_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
  }
  std::string string() const { return path_.string(); }

 private:
  fs::path path_;
};

std::unique_ptr<Tokenizer> load_json(const std::string& text) {
  const TemporaryDirectory directory;
  directory.write("tokenizer.json", text);
  return load_tokenizer(directory.string());
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  Detokenizer detokenizer(tokenizer, {}, skip_special_tokens, true);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

// Expected values were made with HF tokenizers 0.23.3.
TEST(Tokenizer, EqualsHfOnEveryFamily) {
  for (const Json& golden : Json::parse(read_file(kGolden))) {
    SCOPED_TRACE(golden.at("name").get<std::string>());
    const auto tokenizer = load_json(golden.at("tokenizer").dump());
    for (const Json& item : golden.at("cases")) {
      SCOPED_TRACE(item.dump());
      Ids ids;
      if (item.contains("text")) {
        const auto text = item.at("text").get<std::string>();
        ids = item.at("ids").get<Ids>();
        EXPECT_EQ(tokenizer->encode(text, true), ids);
        EXPECT_EQ(tokenizer->encode(text, false), item.at("ids_plain").get<Ids>());
      } else {
        ids = item.at("random_ids").get<Ids>();
      }
      EXPECT_EQ(tokenizer->decode(ids, false), item.at("decoded").get<std::string>());
      EXPECT_EQ(tokenizer->decode(ids, true), item.at("decoded_skip").get<std::string>());
      EXPECT_EQ(stream(*tokenizer, ids, false), item.at("decoded").get<std::string>());
      EXPECT_EQ(stream(*tokenizer, ids, true), item.at("decoded_skip").get<std::string>());
    }
  }
}

TEST(Tokenizer, ReplacesInvalidUtf8) {
  const Json golden = Json::parse(read_file(kGolden)).at(0);
  const auto tokenizer = load_json(golden.at("tokenizer").dump());
  EXPECT_EQ(tokenizer->encode("a\xFF"
                              "b\xE2\x82",
                              false),
            tokenizer->encode("a\uFFFD"
                              "b\uFFFD",
                              false));
}

TEST(Tokenizer, TokensHaveBytesAndNames) {
  const Json golden = Json::parse(read_file(kGolden)).at(0);
  const auto tokenizer = load_json(golden.at("tokenizer").dump());
  const int32_t space = tokenizer->token_to_id("Ġ");
  ASSERT_GE(space, 0);
  EXPECT_EQ(tokenizer->token_bytes(space), " ");
  EXPECT_EQ(tokenizer->id_to_token(space), "Ġ");
  EXPECT_EQ(tokenizer->token_to_id("no such token"), -1);
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->token_bytes(1 << 30), "");
  EXPECT_TRUE(tokenizer->is_special(tokenizer->token_to_id("<s>")));
  EXPECT_FALSE(tokenizer->is_special(space));
}

TEST(Tokenizer, RefusesBrokenFilesNamingThem) {
  const std::string good =
      R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"added_tokens":[]})";
  EXPECT_EQ(load_json(good)->encode("abab", false), (Ids{2, 2}));
  const std::pair<std::string, std::string> replacements[] = {
      {R"("ab":2)", R"("ab":99999999999)"},
      {R"("ab":2)", R"("ab":-1)"},
      {R"("ab":2)", R"("ab":"x")"},
      {R"("ab":2)", R"("c":2)"},
      {"a b", "a"},
      {"a b", "a z"},
      {R"(["a b"])", "7"},
      {R"(["a b"])", R"([["a"]])"},
      {"BPE", "Unigram"},
      {R"("added_tokens":[])", R"("added_tokens":[{"id":5}])"},
      {R"("added_tokens":[])", R"("added_tokens":[{"id":999999999,"content":"x"}])"},
      {R"("added_tokens":[])", R"("normalizer":{"type":"Nonsense"})"},
      {R"("added_tokens":[])",
       R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})"},
      {R"("added_tokens":[])", R"("decoder":{})"}};
  for (const auto& [from, to] : replacements) {
    std::string broken = good;
    broken.replace(broken.find(from), from.size(), to);
    SCOPED_TRACE(broken);
    try {
      load_json(broken);
      ADD_FAILURE() << "accepted";
    } catch (const LoadError& error) {
      EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos)
          << error.what();
    }
  }
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_THROW(load_json(good.substr(0, size)), LoadError);
  EXPECT_THROW(load_json(std::string(100000, '[')), LoadError);
  EXPECT_THROW(load_tokenizer("/nonexistent"), LoadError);
}

// Texts between lines "__ggml_vocab_test__", and their ids a line each.
void check_inputs(const Tokenizer& tokenizer, const std::string& name) {
  const fs::path base = kData / "goldens/llama.cpp-vocab" / ("ggml-vocab-" + name + ".gguf");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string inputs = read_file(base.string() + ".inp");
  std::istringstream outputs(read_file(base.string() + ".out"));
  size_t num_cases = 0;
  for (std::string line; std::getline(outputs, line); ++num_cases) {
    const size_t end = inputs.find(separator);
    const std::string text = inputs.substr(0, end);
    inputs = end == std::string::npos ? "" : inputs.substr(end + separator.size());
    Ids expected;
    std::istringstream numbers(line);
    for (int32_t id; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer.encode(text, false), expected) << text;
  }
  EXPECT_GT(num_cases, 10U);
}

TEST(TokenizerData, EqualsGoldensOfRealVocabularies) {
  if (!fs::exists(kData)) GTEST_SKIP() << "no data at " << kData;
  check_inputs(*load_json(read_file(kData / "tokenizers/kitoken/tokenizers/gpt2.json")), "gpt-2");
  check_inputs(*load_tokenizer((kData / "tokenizers/phi-3-mini").string()), "phi-3");
  check_inputs(*load_tokenizer((kData / "tokenizers/qwen2").string()), "qwen2");
}

}  // namespace
}  // namespace quire
