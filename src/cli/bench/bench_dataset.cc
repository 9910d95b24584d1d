#include "cli/bench/bench_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/error.h"
#include "cli/flags.h"

namespace quire {
namespace {

// Words that most vocabularies hold as one token with their leading space.
constexpr std::array kWords{
    "the",   "of",   "and",  "to",   "in",    "that",  "was",   "his",   "he",   "it",   "with",
    "is",    "for",  "as",   "had",  "you",   "not",   "be",    "her",   "on",   "at",   "by",
    "which", "have", "or",   "from", "this",  "him",   "but",   "all",   "she",  "they", "were",
    "my",    "are",  "me",   "one",  "their", "so",    "an",    "said",  "them", "we",   "who",
    "would", "been", "will", "no",   "when",  "there", "if",    "more",  "out",  "up",   "into",
    "do",    "any",  "your", "what", "has",   "man",   "could", "other", "than"};

// Drawn so that the sequence does not depend on the standard library's distributions.
uint64_t draw_below(std::mt19937_64& random, uint64_t bound) { return random() % bound; }

int draw_length(std::mt19937_64& random, int length, double range_ratio) {
  const int low = std::max(1, static_cast<int>(std::floor(length * (1 - range_ratio))));
  const int high = std::max(low, static_cast<int>(std::ceil(length * (1 + range_ratio))));
  return low + static_cast<int>(draw_below(random, static_cast<uint64_t>(high - low) + 1));
}

std::vector<PromptLength> read_lengths(const DatasetFlags& flags) {
  std::ifstream file(flags.path);
  if (!file) {
    throw LoadError("cannot read --dataset-path " + flags.path);
  }
  std::vector<PromptLength> lengths;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream fields(line);
    PromptLength length;
    if (!(fields >> length.num_prompt_tokens >> length.num_output_tokens)) {
      if (number == 1) {
        continue;  // the header
      }
      throw LoadError(
          fmt::format("{}:{}: needs prompt_tokens and output_tokens", flags.path, number));
    }
    if (length.num_prompt_tokens < 1 || length.num_output_tokens < 1) {
      throw LoadError(fmt::format("{}:{}: lengths must be at least 1", flags.path, number));
    }
    lengths.push_back(length);
  }
  if (lengths.empty()) {
    throw LoadError(flags.path + " holds no lengths");
  }
  return lengths;
}

std::vector<BenchPrompt> read_jsonl(const DatasetFlags& flags) {
  std::ifstream file(flags.path);
  if (!file) {
    throw LoadError("cannot read --dataset-path " + flags.path);
  }
  std::vector<BenchPrompt> prompts;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_string()) {
      throw LoadError(fmt::format("{}:{}: needs an object with \"prompt\"", flags.path, number));
    }
    BenchPrompt prompt;
    prompt.text = json["prompt"].get<std::string>();
    const auto output = json.find("output_tokens");
    prompt.num_output_tokens = output != json.end() && output->is_number_integer()
                                   ? output->get<int>()
                                   : flags.random_output_len;
    prompts.push_back(std::move(prompt));
    if (static_cast<int>(prompts.size()) == flags.num_prompts) {
      break;
    }
  }
  if (prompts.empty()) {
    throw LoadError(flags.path + " holds no prompts");
  }
  return prompts;
}

// Text whose encoding has `length` tokens, as nearly as decode and encode allow.
std::string text_of_length(const Tokenizer& tokenizer, int length, std::mt19937_64& random) {
  const auto vocab_size = static_cast<uint64_t>(tokenizer.vocab_size());
  // No piece of a character: such a token comes back from the text as others.
  const auto draw = [&] {
    while (true) {
      const auto id = static_cast<int32_t>(draw_below(random, vocab_size));
      if (!tokenizer.is_special(id) &&
          tokenizer.decode({id}, true).find("\xEF\xBF\xBD") == std::string::npos) {
        return id;
      }
    }
  };
  std::vector<int32_t> ids;
  std::string text;
  constexpr int kRounds = 10;  // vLLM's; nearly all texts settle in three
  for (int round = 0; round < kRounds; ++round) {
    while (static_cast<int>(ids.size()) < length) {
      ids.push_back(draw());
    }
    ids.resize(static_cast<size_t>(length));
    text = tokenizer.decode(ids, true);
    ids = tokenizer.encode(text, false);
    if (static_cast<int>(ids.size()) == length) {
      break;
    }
  }
  return text;
}

std::string words(int count, std::mt19937_64& random) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += (i == 0 ? "" : " ");
    text += kWords[draw_below(random, kWords.size())];
  }
  return text;
}

}  // namespace

void add_dataset_flags(CLI::App& app, DatasetFlags& flags) {
  app.option_defaults()->group("Data set");
  app.add_option("--dataset-name", flags.name,
                 "random: random tokens; lengths: random tokens with the lengths of a TSV file "
                 "(prompt_tokens, output_tokens); jsonl: prompts of a file")
      ->check(CLI::IsMember({"random", "lengths", "jsonl"}))
      ->type_name("NAME");
  app.add_option("--dataset-path", flags.path, "The file")->type_name("FILE");
  add_human_int(app, "--num-prompts", flags.num_prompts, "Requests", 1);
  add_human_int(app, "--random-input-len,--input-len", flags.random_input_len, "Prompt tokens", 1);
  add_human_int(app, "--random-output-len,--output-len", flags.random_output_len, "Output tokens",
                1);
  add_human_int(app, "--random-prefix-len", flags.random_prefix_len,
                "Tokens that all prompts share at their start", 0);
  app.add_option("--random-range-ratio", flags.random_range_ratio,
                 "Lengths vary by this part to either side")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("X");
}

std::vector<PromptLength> make_lengths(const DatasetFlags& flags) {
  std::vector<PromptLength> lengths;
  if (flags.name == "lengths") {
    const std::vector<PromptLength> rows = read_lengths(flags);
    for (size_t i = 0; i < static_cast<size_t>(flags.num_prompts); ++i) {
      lengths.push_back(rows[i % rows.size()]);
    }
    return lengths;
  }
  std::mt19937_64 random(flags.seed);
  for (int i = 0; i < flags.num_prompts; ++i) {
    const int prompt = draw_length(random, flags.random_input_len, flags.random_range_ratio);
    const int output = draw_length(random, flags.random_output_len, flags.random_range_ratio);
    lengths.push_back({prompt, output});
  }
  return lengths;
}

std::vector<BenchPrompt> make_token_prompts(const DatasetFlags& flags, int vocab_size) {
  std::mt19937_64 random(flags.seed + 1);
  const auto draw = [&] {
    return static_cast<int32_t>(draw_below(random, static_cast<uint64_t>(vocab_size)));
  };
  std::vector<int32_t> prefix(static_cast<size_t>(flags.random_prefix_len));
  std::generate(prefix.begin(), prefix.end(), draw);
  std::vector<BenchPrompt> prompts;
  for (const PromptLength& length : make_lengths(flags)) {
    BenchPrompt prompt;
    prompt.token_ids = prefix;
    std::generate_n(std::back_inserter(prompt.token_ids), length.num_prompt_tokens, draw);
    prompt.num_prompt_tokens = static_cast<int>(prompt.token_ids.size());
    prompt.num_output_tokens = length.num_output_tokens;
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<BenchPrompt> make_text_prompts(const DatasetFlags& flags, const Tokenizer* tokenizer) {
  if (flags.name == "jsonl") {
    return read_jsonl(flags);
  }
  std::mt19937_64 random(flags.seed + 1);
  const auto make_text = [&](int count) {
    return tokenizer == nullptr ? words(count, random) : text_of_length(*tokenizer, count, random);
  };
  const std::string prefix =
      flags.random_prefix_len > 0 ? make_text(flags.random_prefix_len) + " " : "";
  std::vector<BenchPrompt> prompts;
  for (const PromptLength& length : make_lengths(flags)) {
    BenchPrompt prompt;
    prompt.text = prefix + make_text(length.num_prompt_tokens);
    prompt.num_prompt_tokens = flags.random_prefix_len + length.num_prompt_tokens;
    prompt.num_output_tokens = length.num_output_tokens;
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<double> arrival_times(int count, const ArrivalOptions& options) {
  std::vector<double> times(static_cast<size_t>(count));
  if (options.request_rate <= 0 || std::isinf(options.request_rate) || count == 0) {
    return times;
  }
  std::mt19937_64 random(options.seed);
  std::gamma_distribution<double> gap(options.burstiness,
                                      1 / (options.request_rate * options.burstiness));
  double now = 0;
  for (double& time : times) {
    now += gap(random);
    time = now;
  }
  const double scale = now > 0 ? count / options.request_rate / now : 0;
  for (double& time : times) {
    time *= scale;
  }
  return times;
}

}  // namespace quire
