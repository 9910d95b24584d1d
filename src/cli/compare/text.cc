#include "cli/compare/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/compare/columns.h"
#include "cli/human_number.h"

namespace quire {
namespace {

constexpr size_t kMaxPromptLines = 4;  // shown of a prompt

std::string rate_text(const std::optional<double>& rate) {
  return rate ? fmt::format("{:.1f}", *rate) : "-";
}

template <typename Format>
ColumnsRow row_of(const char* label, const std::vector<CompareMetrics>& columns,
                  const Format& format) {
  ColumnsRow row{.label = label, .cells = {}};
  row.cells.reserve(columns.size());
  for (const CompareMetrics& metrics : columns) row.cells.push_back(format(metrics));
  return row;
}

using M = CompareMetrics;

std::vector<ColumnsRow> speed_rows(const std::vector<M>& metrics) {
  return {
      row_of("tokens", metrics, [](const M& m) { return std::to_string(m.num_tokens); }),
      row_of("TTFT, ms", metrics, [](const M& m) { return fmt::format("{:.1f}", m.ttft_ms); }),
      row_of("  alone", metrics, [](const M& m) { return fmt::format("{:.1f}", m.ttft_alone_ms); }),
      row_of("tokens/s", metrics, [](const M& m) { return rate_text(m.tokens_per_second); }),
      row_of("  alone", metrics, [](const M& m) { return rate_text(m.tokens_per_second_alone); }),
      row_of("mean logprob", metrics,
             [](const M& m) { return fmt::format("{:.4f}", m.mean_logprob); })};
}

// The base model differs from itself in nothing.
ColumnsRow kl_row(const std::vector<M>& metrics) {
  ColumnsRow row =
      row_of("KL to base", metrics, [](const M& m) { return fmt::format("{:.4g}", m.kl_to_base); });
  row.cells.front() = "-";
  return row;
}

std::vector<std::string> titles_of(const CompareResult& result) {
  std::vector<std::string> titles;
  titles.reserve(result.columns.size());
  for (const CompareColumn& column : result.columns) titles.push_back(column.name);
  return titles;
}

void append_wrapped(const std::string& paragraph, int width, std::string& text) {
  for (const std::string& line : wrap_text(paragraph, width)) text += line + "\n";
}

std::string prompt_heading(const CompareResult& result, size_t index, int width) {
  const ComparePrompt& prompt = result.prompts[index];
  std::string heading = "Prompt";
  if (result.prompts.size() > 1) {
    heading += fmt::format(" {} of {}", index + 1, result.prompts.size());
  }
  std::vector<std::string> lines = wrap_text(heading + ": " + prompt.text, width);
  if (lines.size() > kMaxPromptLines) {
    lines.resize(kMaxPromptLines);
    lines.emplace_back("...");
  }
  return fmt::format("{}\n\n", fmt::join(lines, "\n"));
}

std::string prompt_report(const CompareResult& result, size_t index, int width) {
  const std::vector<CompareCell>& cells = result.cells[index];
  ColumnsRow answers;
  ColumnsRow divergences{.label = "diverges at", .cells = {"-"}};
  for (size_t column = 0; column < cells.size(); ++column) {
    answers.cells.push_back(cells[column].together.text);
    if (column == 0) continue;
    const auto token = divergence(cells[column], cells[0]);
    divergences.cells.push_back(token ? std::to_string(*token) : "never");
  }
  const std::vector<M> metrics = metrics_of(result, index, index + 1);
  std::vector<ColumnsRow> rows = {answers, {}};
  std::ranges::move(speed_rows(metrics), std::back_inserter(rows));
  rows.push_back(divergences);
  rows.push_back(kl_row(metrics));
  return prompt_heading(result, index, width) + render_columns(titles_of(result), rows, width);
}

std::string summary_report(const CompareResult& result, int width) {
  const std::vector<M> metrics = metrics_of(result, 0, result.prompts.size());
  std::vector<ColumnsRow> rows = speed_rows(metrics);
  rows.push_back(row_of("same as base", metrics, [&](const M& m) {
    return fmt::format("{} of {}", m.num_equal, result.prompts.size());
  }));
  rows.back().cells.front() = "-";
  rows.push_back(kl_row(metrics));
  return fmt::format("All {} prompts: tokens in all, means of the rest\n\n",
                     result.prompts.size()) +
         render_columns(titles_of(result), rows, width);
}

std::string cache_line(const CompareReport& report) {
  if (!report.engine.enable_prefix_caching) return "Prefix cache: off.";
  const CompareCacheHits hits = cache_hits(report);
  return fmt::format(
      "Prefix cache: {} of {} prompt tokens found when asked together{}; {} when asked again, of "
      "{} in whole blocks of {}.",
      hits.together, hits.num_prompt_tokens,
      hits.together > 0 ? ", of prompts that begin alike" : "", hits.again, hits.whole_blocks,
      report.engine.block_size);
}

std::string memory_text(const CompareReport& report) {
  const int64_t adapters = sum_arena_bytes(report.result);
  const int64_t together = report.engine.weight_bytes + adapters;
  const auto num_models = std::ssize(report.result.columns);
  const int64_t separate = num_models * report.engine.weight_bytes;
  return fmt::format(
      "Memory: weights {} and adapters {}, {} in all; {} separate models with merged adapters {} "
      "({:+.1f} % here). The KV cache ({}), in whose arena the adapters lie, is shared; separate "
      "models need one each.",
      format_bytes(report.engine.weight_bytes), format_bytes(adapters), format_bytes(together),
      num_models, format_bytes(separate),
      (static_cast<double>(together) / static_cast<double>(separate) - 1) * 100,
      format_bytes(report.engine.kv_cache_bytes));
}

std::string independence_line(const CompareReport& report) {
  const CompareResult& result = report.result;
  const size_t num_requests = result.prompts.size() * result.columns.size();
  const auto& differences = report.verdict.differences;
  if (differences.empty()) {
    return fmt::format("One by one: the same tokens in all {} requests.", num_requests);
  }
  std::string line = fmt::format(
      "One by one: OTHER TOKENS in {} of {} requests:", differences.size(), num_requests);
  for (const CompareVerdict::Difference& difference : differences) {
    line += fmt::format("\n  {} with {}, from token {}", result.prompts[difference.prompt].location,
                        result.columns[difference.column].name, difference.token);
  }
  return line;
}

std::string equality_line(const CompareReport& report) {
  if (report.verdict.equal_to_base.empty()) {
    return "Every adapter changes an answer of the base model.";
  }
  std::vector<std::string> names;
  names.reserve(report.verdict.equal_to_base.size());
  for (const auto& [column, is_applied] : report.verdict.equal_to_base) {
    names.push_back(fmt::format(
        "{} ({})", report.result.columns[column].name,
        is_applied ? "it is applied, as KL to base is not 0" : "nothing shows that it is applied"));
  }
  return fmt::format("THE BASE MODEL'S ANSWERS to all prompts: {}.", fmt::join(names, ", "));
}

std::string footer(const CompareReport& report, int width) {
  std::string text;
  for (const CompareColumn& column : report.result.columns) {
    if (column.arena_bytes == 0) continue;  // the base model
    append_wrapped(fmt::format("{}: rank {}, {} of weights in {} of the arena, read in {:.1f} ms "
                               "from {}",
                               column.name, column.rank, format_bytes(column.weight_bytes),
                               format_bytes(column.arena_bytes), column.read_s * 1e3, column.path),
                   width, text);
  }
  append_wrapped(cache_line(report), width, text);
  append_wrapped(memory_text(report), width, text);
  append_wrapped(fmt::format("TTFT and tokens/s: of all {} requests submitted at once (the first "
                             "may begin a step before the others); alone: of one at a "
                             "time, its prompt not in the prefix cache.",
                             report.result.prompts.size() * report.result.columns.size()),
                 width, text);
  append_wrapped(fmt::format("KL to base: KL(adapter || base) of the token at position 0, in nats, "
                             "over all {} tokens of the vocabulary.",
                             report.engine.vocab_size),
                 width, text);
  append_wrapped(independence_line(report), width, text);
  append_wrapped(equality_line(report), width, text);
  return text;
}

}  // namespace

std::string text_report(const CompareReport& report, int width) {
  const CompareResult& result = report.result;
  std::string text;
  append_wrapped(
      fmt::format("{} ({}, {}, {}) and {} adapters, {}", report.model, report.engine.architecture,
                  report.engine.dtype, report.engine.device, result.columns.size() - 1,
                  report.chat_template ? "with the chat template" : "without chat template"),
      width, text);
  for (size_t i = 0; i < result.prompts.size(); ++i) {
    text += "\n" + prompt_report(result, i, width);
  }
  if (result.prompts.size() > 1) text += "\n" + summary_report(result, width);
  return text + "\n" + footer(report, width);
}

}  // namespace quire
