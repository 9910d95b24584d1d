#include "cli/sampling_json.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>

#include "cli/human_number.h"

namespace quire {
namespace {

using Json = nlohmann::json;

void read(const Json& value, float& target) { target = value.get<float>(); }
void read(const Json& value, bool& target) { target = value.get<bool>(); }
void read(const Json& value, int& target) {
  if (!value.is_number_integer()) {
    throw Json::type_error::create(302, "not a whole number", &value);
  }
  target = value.get<int>();
}
void read(const Json& value, int64_t& target) { target = value.get<int64_t>(); }
template <typename T>
void read(const Json& value, std::optional<T>& target) {
  T inner{};
  read(value, inner);
  target = inner;
}
template <typename T>
void read(const Json& value, std::vector<T>& target) {
  target = value.is_array() ? value.get<std::vector<T>>() : std::vector<T>{value.get<T>()};
}
void read(const Json& value, std::map<int32_t, float>& target) {
  target.clear();
  for (const auto& [key, bias] : value.items()) {
    target[std::stoi(key)] = bias.get<float>();
  }
}

struct Field {
  const char* name;
  void (*set)(const Json& value, SamplingParams& params);
};

template <auto Member>
constexpr Field field(const char* name) {
  return {name, [](const Json& value, SamplingParams& params) { read(value, params.*Member); }};
}

using P = SamplingParams;
constexpr std::array kFields{
    field<&P::n>("n"),
    field<&P::temperature>("temperature"),
    field<&P::top_p>("top_p"),
    field<&P::top_k>("top_k"),
    field<&P::min_p>("min_p"),
    field<&P::seed>("seed"),
    field<&P::max_tokens>("max_tokens"),
    field<&P::max_tokens>("max_completion_tokens"),
    field<&P::max_tokens>("max_new_tokens"),  // generation_config.json's name
    field<&P::min_tokens>("min_tokens"),
    field<&P::presence_penalty>("presence_penalty"),
    field<&P::frequency_penalty>("frequency_penalty"),
    field<&P::repetition_penalty>("repetition_penalty"),
    field<&P::stop>("stop"),
    field<&P::stop_token_ids>("stop_token_ids"),
    field<&P::include_stop_str_in_output>("include_stop_str_in_output"),
    field<&P::ignore_eos>("ignore_eos"),
    field<&P::logit_bias>("logit_bias"),
    field<&P::allowed_token_ids>("allowed_token_ids"),
    field<&P::bad_words>("bad_words"),
    field<&P::skip_special_tokens>("skip_special_tokens"),
};

void add_float(CLI::App& app, Json& fields, const char* flag, const char* name, const char* help) {
  app.add_option_function<float>(
         flag, [&fields, name](float value) { fields[name] = value; }, help)
      ->type_name("X");
}

void add_int(CLI::App& app, Json& fields, const char* flag, const char* name, const char* help) {
  const auto set = [&fields, name, flag](const std::string& text) {
    const auto number = parse_human_int(text);
    if (!number) {
      throw CLI::ValidationError(flag, number.error());
    }
    fields[name] = *number;
  };
  app.add_option_function<std::string>(flag, set, help)->type_name("N");
}

}  // namespace

bool is_sampling_field(const std::string& name) {
  return std::any_of(kFields.begin(), kFields.end(),
                     [&](const Field& field) { return name == field.name; });
}

Expected<void, std::string> apply_sampling_json(const Json& fields, SamplingParams& params) {
  if (!fields.is_object()) {
    return Unexpected{std::string("sampling fields must be a JSON object")};
  }
  for (const Field& field : kFields) {
    const auto value = fields.find(field.name);
    if (value == fields.end() || value->is_null()) {
      continue;
    }
    try {
      field.set(*value, params);
    } catch (const std::exception&) {  // nlohmann's and std::stoi's
      return Unexpected{fmt::format("{} has the wrong type: {}", field.name, value->dump())};
    }
  }
  return {};
}

void add_sampling_flags(CLI::App& app, Json& fields) {
  fields = Json::object();
  app.option_defaults()->group("Sampling");
  add_float(app, fields, "--temperature", "temperature", "0: always the likeliest token");
  add_float(app, fields, "--top-p", "top_p",
            "Draw from the likeliest tokens of this total probability");
  add_int(app, fields, "--top-k", "top_k", "Draw from so many likeliest tokens; 0: all");
  add_float(app, fields, "--min-p", "min_p",
            "Least probability, relative to the likeliest token's");
  add_int(app, fields, "--max-tokens", "max_tokens", "Longest output, in tokens");
  add_int(app, fields, "--min-tokens", "min_tokens", "Shortest output, in tokens");
  add_float(app, fields, "--presence-penalty", "presence_penalty", "Against tokens already there");
  add_float(app, fields, "--frequency-penalty", "frequency_penalty",
            "Against tokens, by their count");
  add_float(app, fields, "--repetition-penalty", "repetition_penalty",
            "Divides the logits of tokens of prompt and output; 1: off");
  app.add_option_function<std::vector<std::string>>(
         "--stop", [&fields](const std::vector<std::string>& strings) { fields["stop"] = strings; },
         "End the output before this text; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_flag_callback(
      "--ignore-eos", [&fields] { fields["ignore_eos"] = true; }, "Go on until --max-tokens");
}

}  // namespace quire
