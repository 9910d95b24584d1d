// The request of /v1/chat/completions.
#pragma once

#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "server/json.h"
#include "server/openai/chat_messages.h"
#include "server/openai/sampling_fields.h"

namespace quire {

struct ServerContext;

struct ChatCompletionRequest {
  CommonFields common;
  ChatInput input;
  bool add_special_tokens = false;  // templates write BOS themselves
};

Expected<ChatCompletionRequest, RequestError> read_chat_request(const ServerContext& context,
                                                                const Json& body);

}  // namespace quire
