#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string render_or_error(const std::string& source, const Json& context) {
  const auto text = ChatTemplate(source).render(context);
  return text ? *text : "error: " + text.error().message;
}

TEST(ChatTemplate, WantsPartsIfItLoopsOverTheContentOfMessages) {
  const auto wants_parts = [](const char* source) {
    return ChatTemplate(source).wants_content_parts();
  };
  for (const char* source :
       {"{% for m in messages %}{% for p in m['content'] %}{{ p.text }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
        "{% set rest = messages[1:] %}{% for m in rest %}{% if m.content is string %}{{ "
        "m.content }}{% else %}{% for p in m.content | list %}{{ p.text }}{% endfor %}{% endif "
        "%}{% endfor %}"}) {
    EXPECT_TRUE(wants_parts(source)) << source;
  }
  for (const char* source :
       {"{% for m in messages %}{{ m.content }}{% endfor %}", "no messages at all",
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c }}{% endfor %}{% endfor %}",
        "{% for m in other %}{% for p in m.content %}{{ p }}{% endfor %}{% endfor %}"}) {
    EXPECT_FALSE(wants_parts(source)) << source;
  }
}

// Expected values were made with Python's jinja2 3.1.6, set up as in transformers.
TEST(ChatTemplate, EqualsPythonOnEveryFeature) {
  std::ifstream in(fs::path(QUIRE_SOURCE_DIR) / "tests/golden/text/jinja_cases.json");
  const Json golden = Json::parse(in);
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 6;
  now.tm_mday = 10;
  now.tm_hour = 12;
  for (const Json& item : golden.at("cases")) {
    const auto source = item.at("template").get<std::string>();
    SCOPED_TRACE(source);
    try {
      const jinja::Template syntax = jinja::parse_template(source);
      const std::string text = jinja::Interpreter(syntax, golden.at("context"), now).run();
      EXPECT_EQ(text, item.value("output", "(an error)"));
    } catch (const jinja::TemplateError& error) {
      EXPECT_TRUE(item.contains("error")) << error.what();
    }
  }
}

TEST(ChatTemplate, RaisedExceptionsAreRequestErrors) {
  const ChatTemplate chat("{{ raise_exception('roles must alternate') }}");
  const auto text = chat.render(Json::object());
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().http_status, 400);
  EXPECT_NE(text.error().message.find("roles must alternate"), std::string::npos);
}

TEST(ChatTemplate, SyntaxErrorsNameTheLine) {
  for (const char* source :
       {"a\n{% if x %}", "a\n{{ x", "a\n{{ 1 + }}", "a\n{% nonsense %}", "a\n{% endif %}",
        "a\n{% for x %}", "a\n{{ 'x }}", "a\n{{ (1 }}", "a\n{% break %}", "a\n{{ a.1x }}"}) {
    try {
      const ChatTemplate chat(source);
      ADD_FAILURE() << source;
    } catch (const LoadError& error) {
      EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
    }
  }
}

TEST(ChatTemplate, BoundsHostileTemplates) {
  const Json empty = Json::object();
  const auto fails = [&](const std::string& source) {
    return render_or_error(source, empty).starts_with("error");
  };
  EXPECT_TRUE(fails("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"));
  EXPECT_TRUE(fails("{{ range(1000000000) }}"));
  EXPECT_TRUE(fails("{{ 'x' * 1000000000000 }}"));
  EXPECT_TRUE(
      fails("{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ "
            "ns.s %}{% endfor %}"));
  EXPECT_TRUE(
      fails("{% set ns = namespace(s=[]) %}{% for i in range(9000) %}{% set ns.s = [ns.s] %}{% "
            "endfor %}"));
  EXPECT_TRUE(fails(
      "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}"));
  EXPECT_TRUE(fails("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns.me.me.nothing.x }}"));
}

TEST(ChatTemplate, RefusesDeepSyntax) {
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += " + 1";
  EXPECT_THROW(ChatTemplate(sum + " }}"), LoadError);
  EXPECT_THROW(ChatTemplate("{{ " + std::string(5000, '(') + "1"), LoadError);
  EXPECT_THROW(ChatTemplate("{{ " + std::string(5000, '-') + "1"), LoadError);
}

TEST(ChatTemplateConfig, PrefersTheTemplateFile) {
  std::string name = (fs::temp_directory_path() / "quire_chat_XXXXXX").string();
  const fs::path directory = mkdtemp(name.data());
  const auto write = [&](const char* file, const std::string& text) {
    std::ofstream(directory / file) << text;
  };
  EXPECT_EQ(load_chat_template_config(directory.string()).source, "");
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
            "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  const ChatTemplateConfig config = load_chat_template_config(directory.string());
  EXPECT_EQ(config.source, "D");
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_EQ(config.pad_token, "");
  write("chat_template.json", R"({"chat_template": "J"})");
  EXPECT_EQ(load_chat_template_config(directory.string()).source, "J");
  write("chat_template.jinja", "F");
  EXPECT_EQ(load_chat_template_config(directory.string()).source, "F");
  write("tokenizer_config.json", R"({"bos_token": 7})");
  EXPECT_THROW(load_chat_template_config(directory.string()), LoadError);
  write("tokenizer_config.json", "{");
  EXPECT_THROW(load_chat_template_config(directory.string()), LoadError);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace quire
