#include "text/normalizer.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/component.h"
#include "text/split_pattern.h"
#include "text/unicode.h"

namespace quire {
namespace {

using Json = nlohmann::json;

class Sequence final : public Normalizer {
 public:
  explicit Sequence(const Json& config) {
    for (const Json& part : config.at("normalizers")) parts_.push_back(make_normalizer(part));
  }
  std::string normalize(std::string text) const override {
    for (const auto& part : parts_) text = part->normalize(std::move(text));
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(const Json& config)
      : pattern_(split_pattern_of(config.at("pattern"))),
        content_(config.at("content").get<std::string>()) {}
  std::string normalize(std::string text) const override {
    return replace_matches(text, pattern_.find_all(text), content_);
  }

 private:
  SplitPattern pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(const Json& config) : prefix_(config.at("prepend").get<std::string>()) {}
  std::string normalize(std::string text) const override {
    return text.empty() ? text : prefix_ + text;
  }

 private:
  std::string prefix_;
};

class Strip final : public Normalizer {
 public:
  explicit Strip(const Json& config)
      : left_(config.value("strip_left", true)), right_(config.value("strip_right", true)) {}
  std::string normalize(std::string text) const override {
    size_t end = text.size();
    while (right_ && end > 0 && is_space(utf8_before(text, end).value))
      end -= utf8_before(text, end).num_bytes;
    size_t start = 0;
    while (left_ && start < end && is_space(utf8_at(text, start).value))
      start += utf8_at(text, start).num_bytes;
    return text.substr(start, end - start);
  }

 private:
  bool left_;
  bool right_;
};

// A normalizer without parameters.
class Function final : public Normalizer {
 public:
  using Body = std::string (*)(std::string);
  explicit Function(Body body) : body_(body) {}
  std::string normalize(std::string text) const override { return body_(std::move(text)); }

 private:
  Body body_;
};

std::string strip_accents(std::string text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    if ((char_class(c.value) & kMark) == 0) out.append(text, i, c.num_bytes);
    i += c.num_bytes;
  }
  return out;
}

template <typename T>
std::unique_ptr<Normalizer> make(const Json& config) {
  return std::make_unique<T>(config);
}

template <Function::Body body>
std::unique_ptr<Normalizer> make_function(const Json&) {
  return std::make_unique<Function>(body);
}

template <NormalForm form>
std::string apply_form(std::string text) {
  return normalize_unicode(std::move(text), form);
}
std::string lowercase(std::string text) { return lowercase_chars(text); }
std::string byte_level(std::string text) { return to_byte_alphabet(text); }

constexpr ComponentRow<Normalizer> kNormalizers[] = {
    {"Sequence", make<Sequence>},
    {"Replace", make<Replace>},
    {"Prepend", make<Prepend>},
    {"Strip", make<Strip>},
    {"StripAccents", make_function<strip_accents>},
    {"Lowercase", make_function<lowercase>},
    {"ByteLevel", make_function<byte_level>},
    {"NFC", make_function<apply_form<NormalForm::kNfc>>},
    {"NFD", make_function<apply_form<NormalForm::kNfd>>},
    {"NFKC", make_function<apply_form<NormalForm::kNfkc>>},
    {"NFKD", make_function<apply_form<NormalForm::kNfkd>>},
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& config) {
  return make_component<Normalizer>(kNormalizers, "normalizer", config);
}

}  // namespace quire
