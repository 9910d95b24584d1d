// What a chat template expects a message's content to be.
#pragma once

#include "text/jinja/ast.h"

namespace quire::jinja {

// True if some loop over the messages, or over a variable set from them, has a loop over
// message['content'] of its own: the template then takes a list of parts.  A template that only
// prints the content takes a string.  Source: vLLM, how it detects the "openai" content format.
bool loops_over_content(const Template& program);

}  // namespace quire::jinja
