#include "checkpoint/name_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/safetensors_bytes.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

bool matches(const std::string& pattern, const std::string& name) {
  return NamePattern(pattern, "").matches(name);
}
std::string error_of(const std::string& pattern, const std::string& name = "x") {
  return load_error_of([&] { NamePattern(pattern, "file: 'field': ").matches(name); });
}

// Expected values: Python's re.fullmatch.
TEST(NamePattern, MatchesWholeNamesOnly) {
  EXPECT_TRUE(matches("q_proj", "q_proj"));
  EXPECT_FALSE(matches("q_proj", "q_proj2"));
  EXPECT_FALSE(matches("q_proj", "eq_proj"));
  EXPECT_FALSE(matches("", "x"));
  EXPECT_TRUE(matches("", ""));
}

TEST(NamePattern, KnowsCharactersAndClasses) {
  EXPECT_TRUE(matches("layers.3", "layers.3"));
  EXPECT_TRUE(matches("layers.3", "layersX3"));
  EXPECT_FALSE(matches("layers\\.3", "layersX3"));
  EXPECT_TRUE(matches("[a-c_]\\d\\w\\D\\W", "b1_x."));
  EXPECT_FALSE(matches("[^a-c]", "b"));
  EXPECT_TRUE(matches("[]a-]+", "]-a"));
  EXPECT_TRUE(matches("[\\d.]+", "1.2"));
  EXPECT_TRUE(matches("[^]]", "a"));
  EXPECT_FALSE(matches("a.b", "a\nb"));
  EXPECT_FALSE(matches(".", "\xc3"));
}

TEST(NamePattern, KnowsGroupsAlternativesAndQuantifiers) {
  EXPECT_TRUE(matches(".*\\.(q|v)_proj", "model.layers.0.self_attn.v_proj"));
  EXPECT_FALSE(matches(".*\\.(q|v)_proj", "model.layers.0.self_attn.k_proj"));
  EXPECT_TRUE(matches("(?:a|b|)+c?", "abba"));
  EXPECT_TRUE(matches("a{2}b{1,2}c{0,}d{,1}", "aabbccc"));
  EXPECT_FALSE(matches("a{2}", "aaa"));
  EXPECT_FALSE(matches("a{2,3}", "aaaa"));
  EXPECT_TRUE(matches("(a{0}b)*?", "bb"));
  EXPECT_TRUE(matches("(a*)*b", "aab"));
  EXPECT_TRUE(matches("(\\d|\\b){3}x", "1x"));
}

TEST(NamePattern, KnowsAnchorsAndLookahead) {
  EXPECT_TRUE(matches("(.*\\.)?(^model\\.q$)", "model.q"));
  EXPECT_FALSE(matches("(.*\\.)?(^q)", "model.q"));
  EXPECT_TRUE(matches("\\Aa\\b\\.\\Bb\\Z|a\\b\\.\\bb", "a.b"));
  EXPECT_FALSE(matches("a\\bb", "ab"));
  const std::string swift = "^(model)(?!.*(lm_head|output|emb)).*";
  EXPECT_TRUE(matches(swift, "model.layers.0.mlp.up_proj"));
  EXPECT_FALSE(matches(swift, "model.layers.0.output"));
}

TEST(NamePattern, RefusesWhatItWouldMatchOtherwiseThanPython) {
  EXPECT_THAT(error_of("(?i)q"), AllOf(HasSubstr("file: 'field': "), HasSubstr("(?i")));
  EXPECT_THAT(error_of("(?<!a)b"), HasSubstr("(?<"));
  EXPECT_THAT(error_of("(?P<n>a)"), HasSubstr("(?P"));
  EXPECT_THAT(error_of("(a)\\1"), HasSubstr("\\1"));
  EXPECT_THAT(error_of("\\x41"), HasSubstr("\\x"));
  EXPECT_THAT(error_of("[\\b]"), HasSubstr("\\b"));
  EXPECT_THAT(error_of("a++"), HasSubstr("'+' after a quantifier"));
  EXPECT_THAT(error_of("a{1}{2}"), HasSubstr("after a quantifier"));
  EXPECT_THAT(error_of("a{x}"), HasSubstr("no count"));
  EXPECT_THAT(error_of("a{,}"), HasSubstr("no count"));
  EXPECT_THAT(error_of("a{1001}"), HasSubstr("more than 1000"));
  EXPECT_THAT(error_of("\xc3\xa9"), HasSubstr("ASCII"));
  EXPECT_THAT(error_of(std::string("a\0b", 3)), HasSubstr("ASCII"));
}

TEST(NamePattern, RefusesWhatPythonRefuses) {
  EXPECT_THAT(error_of("(a"), HasSubstr("lacks a ')'"));
  EXPECT_THAT(error_of("a)"), HasSubstr("')' too many"));
  EXPECT_THAT(error_of("*a"), HasSubstr("repeats nothing"));
  EXPECT_THAT(error_of("^*"), HasSubstr("repeats an anchor"));
  EXPECT_THAT(error_of("[a"), HasSubstr("ends too early"));
  EXPECT_THAT(error_of("a\\"), HasSubstr("ends too early"));
  EXPECT_THAT(error_of("[b-a]"), HasSubstr("bad range"));
  EXPECT_THAT(error_of("[a-\\d]"), HasSubstr("bad range"));
  EXPECT_THAT(error_of("a{2,1}"), HasSubstr("least exceeds"));
}

TEST(NamePattern, LimitsDepthLengthAndTime) {
  EXPECT_THAT(error_of(std::string(1000, '(')), HasSubstr("deeper than"));
  EXPECT_THAT(error_of(std::string(1 << 17, 'a')), HasSubstr("bytes, the limit"));
  EXPECT_THAT(error_of("a", std::string(1000, 'a')), HasSubstr("too long to match"));
  // Exponential for a matcher that backtracks.
  const std::string name(200, 'a');
  EXPECT_FALSE(matches("(((a*)*)*)*b", name));
  EXPECT_FALSE(matches("(a|a|aa)*b", name));
  EXPECT_TRUE(matches("(((((|a){1000}){1000}){1000}){1000}){1000}", name));
  EXPECT_THAT(
      error_of("(?=(?=(?=(?=(.*x)*.*x)*.*x)*.*)*.*)*(?!.*(?!.*(?!.*(?!.*y).*y).*y)).*", name),
      HasSubstr("takes too long"));
}

}  // namespace
}  // namespace quire
