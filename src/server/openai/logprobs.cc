#include "server/openai/logprobs.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace quire {
namespace {

constexpr double kLeastLogprob = -9999.0;

Json bytes_json(const std::string& bytes) {
  Json json = Json::array();
  for (const char c : bytes) json.push_back(static_cast<unsigned char>(c));
  return json;
}

Json chat_entry(const Logprob& logprob, bool as_token_ids) {
  return {{"token", token_text(logprob, as_token_ids)},
          {"logprob", finite_logprob(logprob.logprob)},
          {"bytes", bytes_json(logprob.bytes)}};
}

// Code points that begin in `bytes`; pieces of one code point add up to one.
int64_t count_code_points(const std::string& bytes) {
  return std::ranges::count_if(
      bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

std::string token_text(const Logprob& logprob, bool as_token_id) {
  return as_token_id ? "token_id:" + std::to_string(logprob.token_id) : logprob.bytes;
}

double finite_logprob(float logprob) {
  if (std::isnan(logprob)) return kLeastLogprob;
  return std::clamp(static_cast<double>(logprob), kLeastLogprob, 0.0);
}

Json chat_logprobs_json(const std::vector<PositionLogprobs>& positions, bool as_token_ids) {
  Json content = Json::array();
  for (const PositionLogprobs& position : positions) {
    if (position.empty()) continue;
    Json entry = chat_entry(position.front(), as_token_ids);
    Json top = Json::array();
    for (size_t i = 1; i < position.size(); ++i)
      top.push_back(chat_entry(position[i], as_token_ids));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json prompt_logprobs_json(const std::vector<PositionLogprobs>& positions) {
  Json json = Json::array();
  for (const PositionLogprobs& position : positions) {
    if (position.empty()) {
      json.push_back(nullptr);
      continue;
    }
    Json entry = Json::object();
    for (const Logprob& logprob : position) {
      entry[std::to_string(logprob.token_id)] = {{"logprob", finite_logprob(logprob.logprob)},
                                                 {"rank", logprob.rank},
                                                 {"decoded_token", logprob.bytes}};
    }
    json.push_back(std::move(entry));
  }
  return json;
}

void CompletionLogprobs::add_token(const Logprob& token) {
  offsets_.push_back(offset_);
  tokens_.push_back(token_text(token, as_token_ids_));
  offset_ += count_code_points(token.bytes);
}

void CompletionLogprobs::add(const PositionLogprobs& position) {
  if (position.empty()) return;
  add_token(position.front());
  logprobs_.push_back(finite_logprob(position.front().logprob));
  Json top = Json::object();
  for (const Logprob& logprob : position) {
    top[token_text(logprob, as_token_ids_)] = finite_logprob(logprob.logprob);
  }
  top_.push_back(std::move(top));
}

void CompletionLogprobs::add_unknown(const Logprob& token) {
  add_token(token);
  logprobs_.push_back(nullptr);
  top_.push_back(nullptr);
}

Json CompletionLogprobs::take() {
  return {{"text_offset", std::exchange(offsets_, Json::array())},
          {"token_logprobs", std::exchange(logprobs_, Json::array())},
          {"tokens", std::exchange(tokens_, Json::array())},
          {"top_logprobs", std::exchange(top_, Json::array())}};
}

}  // namespace quire
