#include "text/chat_template.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/jinja/content_format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/unicode.h"

namespace quire {

struct ChatTemplate::Program {
  jinja::Template syntax;
  bool wants_content_parts = false;
};

ChatTemplate::ChatTemplate(const std::string& source) {
  auto program = std::make_unique<Program>();
  try {
    program->syntax =
        jinja::parse_template(is_valid_utf8(source) ? source : replace_invalid_utf8(source));
  } catch (const jinja::TemplateError& error) {
    throw LoadError(std::string("chat template: ") + error.what());
  }
  program->wants_content_parts = jinja::loops_over_content(program->syntax);
  program_ = std::move(program);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

bool ChatTemplate::wants_content_parts() const { return program_->wants_content_parts; }

Expected<std::string, RequestError> ChatTemplate::render(
    const nlohmann::ordered_json& context) const {
  const std::time_t seconds = std::time(nullptr);
  std::tm now{};
  localtime_r(&seconds, &now);
  try {
    return jinja::Interpreter(program_->syntax, context, now).run();
  } catch (const jinja::TemplateError& error) {
    RequestError failure;
    failure.param = "messages";
    failure.message = std::string("chat template: ") + error.what();
    return Unexpected{std::move(failure)};
  }
}

}  // namespace quire
