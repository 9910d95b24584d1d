#include "text/token_decoder.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "text/byte_level.h"
#include "text/component.h"
#include "text/split_pattern.h"
#include "text/unicode.h"

namespace quire {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<std::string>;

std::string concatenate(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

class ByteLevel final : public TokenDecoder {
 public:
  explicit ByteLevel(const Json&) {}
  Tokens decode_chain(Tokens tokens) const override {
    std::string bytes;
    for (std::string& token : tokens) bytes += decode_token(std::move(token));
    return {replace_invalid_utf8(bytes)};
  }
  bool describe(DecodeRules& rules) const override {
    rules.byte_level = true;
    return true;
  }
  std::string decode_token(std::string token) const override {
    auto bytes = from_byte_alphabet(token);
    return bytes ? *std::move(bytes) : token;
  }
};

class ByteFallback final : public TokenDecoder {
 public:
  explicit ByteFallback(const Json&) {}
  Tokens decode_chain(Tokens tokens) const override {
    Tokens out;
    std::string run;
    const auto flush = [&] {
      if (is_valid_utf8(run)) {
        if (!run.empty()) out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      const int byte = fallback_byte(token);
      if (byte >= 0) {
        run.push_back(static_cast<char>(byte));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    return out;
  }
  bool describe(DecodeRules& rules) const override {
    rules.byte_fallback = true;
    return true;
  }
  std::string decode_token(std::string token) const override {
    const int byte = fallback_byte(token);
    return byte >= 0 ? std::string(1, static_cast<char>(byte)) : token;
  }
};

class Fuse final : public TokenDecoder {
 public:
  explicit Fuse(const Json&) {}
  Tokens decode_chain(Tokens tokens) const override { return {concatenate(tokens)}; }
  bool describe(DecodeRules&) const override { return true; }
  std::string decode_token(std::string token) const override { return token; }
};

class Replace final : public TokenDecoder {
 public:
  explicit Replace(const Json& config)
      : pattern_(split_pattern_of(config.at("pattern"))),
        content_(config.at("content").get<std::string>()) {}
  Tokens decode_chain(Tokens tokens) const override {
    for (std::string& token : tokens) token = decode_token(std::move(token));
    return tokens;
  }
  bool describe(DecodeRules& rules) const override {
    return !rules.byte_fallback && !rules.byte_level;
  }
  std::string decode_token(std::string token) const override {
    return replace_matches(token, pattern_.find_all(token), content_);
  }

 private:
  SplitPattern pattern_;
  std::string content_;
};

// Strips up to `start` and `stop` copies of a character from the ends of each token it is given.
class Strip final : public TokenDecoder {
 public:
  explicit Strip(const Json& config)
      : content_(config.at("content").get<std::string>()),
        start_(config.at("start").get<int>()),
        stop_(config.at("stop").get<int>()) {}
  Tokens decode_chain(Tokens tokens) const override {
    for (std::string& token : tokens) token = strip(std::move(token));
    return tokens;
  }
  // Only after Fuse is the token the whole text; the Sequence knows.
  bool describe(DecodeRules& rules) const override {
    if (content_ != " " || stop_ != 0) return false;
    rules.num_leading_spaces = start_;
    return true;
  }
  std::string decode_token(std::string token) const override { return token; }

 private:
  std::string strip(std::string token) const {
    for (int i = 0; i < start_ && !content_.empty() && token.starts_with(content_); ++i) {
      token.erase(0, content_.size());
    }
    for (int i = 0; i < stop_ && !content_.empty() && token.ends_with(content_); ++i) {
      token.resize(token.size() - content_.size());
    }
    return token;
  }
  std::string content_;
  int start_;
  int stop_;
};

class Metaspace final : public TokenDecoder {
 public:
  explicit Metaspace(const Json& config)
      : replacement_(config.at("replacement").get<std::string>()),
        pattern_(SplitPattern::literal(replacement_)),
        drops_first_(config.value("prepend_scheme", "always") != "never" &&
                     config.value("add_prefix_space", true)) {}
  Tokens decode_chain(Tokens tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool drops = i == 0 && drops_first_;
      tokens[i] = replace_matches(tokens[i], pattern_.find_all(tokens[i]), drops ? "" : " ");
    }
    return tokens;
  }
  bool describe(DecodeRules& rules) const override {
    if (drops_first_) rules.first_token_drops = replacement_;
    return !rules.byte_fallback && !rules.byte_level;
  }
  std::string decode_token(std::string token) const override {
    return replace_matches(token, pattern_.find_all(token), " ");
  }

 private:
  std::string replacement_;
  SplitPattern pattern_;
  bool drops_first_;
};

class Sequence final : public TokenDecoder {
 public:
  explicit Sequence(const Json& config) {
    for (const Json& part : config.at("decoders")) {
      parts_.push_back(make_token_decoder(part));
      types_.push_back(part.at("type").get<std::string>());
    }
  }
  Tokens decode_chain(Tokens tokens) const override {
    for (const auto& part : parts_) tokens = part->decode_chain(std::move(tokens));
    return tokens;
  }
  // Tokens stay apart up to Fuse; after it only a Strip can be described.
  bool describe(DecodeRules& rules) const override {
    bool fused = false;
    for (size_t i = 0; i < parts_.size(); ++i) {
      const bool is_strip = types_[i] == "Strip";
      if (is_strip != fused && types_[i] != "Fuse") return false;
      if (types_[i] == "Sequence" || rules.byte_level) return false;
      fused = fused || types_[i] == "Fuse";
      if (!parts_[i]->describe(rules)) return false;
    }
    return true;
  }
  std::string decode_token(std::string token) const override {
    for (const auto& part : parts_) token = part->decode_token(std::move(token));
    return token;
  }

 private:
  std::vector<std::unique_ptr<TokenDecoder>> parts_;
  std::vector<std::string> types_;
};

// Clip's and GPT's: a suffix marks the end of a word.
class BpeDecoder final : public TokenDecoder {
 public:
  explicit BpeDecoder(const Json& config)
      : pattern_(SplitPattern::literal(config.value("suffix", "</w>"))) {}
  Tokens decode_chain(Tokens tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_matches(tokens[i], pattern_.find_all(tokens[i]),
                                  i + 1 < tokens.size() ? " " : "");
    }
    return tokens;
  }
  bool describe(DecodeRules&) const override { return false; }
  std::string decode_token(std::string token) const override {
    return replace_matches(token, pattern_.find_all(token), " ");
  }

 private:
  SplitPattern pattern_;
};

template <typename T>
std::unique_ptr<TokenDecoder> make(const Json& config) {
  return std::make_unique<T>(config);
}

constexpr ComponentRow<TokenDecoder> kDecoders[] = {
    {"Sequence", make<Sequence>},         {"ByteLevel", make<ByteLevel>},
    {"ByteFallback", make<ByteFallback>}, {"Fuse", make<Fuse>},
    {"Replace", make<Replace>},           {"Strip", make<Strip>},
    {"Metaspace", make<Metaspace>},       {"BPEDecoder", make<BpeDecoder>},
};

}  // namespace

std::unique_ptr<TokenDecoder> make_token_decoder(const Json& config) {
  return make_component<TokenDecoder>(kDecoders, "decoder", config);
}

int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    int digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace quire
