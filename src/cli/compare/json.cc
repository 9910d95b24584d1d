#include "cli/compare/json.h"

#include <optional>
#include <utility>

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Json metrics_json(const CompareMetrics& metrics) {
  const auto number = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json();
  };
  return {{"num_tokens", metrics.num_tokens},
          {"ttft_ms", metrics.ttft_ms},
          {"ttft_alone_ms", metrics.ttft_alone_ms},
          {"tokens_per_second", number(metrics.tokens_per_second)},
          {"tokens_per_second_alone", number(metrics.tokens_per_second_alone)},
          {"mean_logprob", metrics.mean_logprob},
          {"kl_to_base", metrics.kl_to_base}};
}

// Null for the base model.
Json adapter_name(const CompareResult& result, size_t column) {
  return column == 0 ? Json() : Json(result.columns[column].name);
}

Json prompt_json(const CompareResult& result, size_t index) {
  const ComparePrompt& prompt = result.prompts[index];
  const std::vector<CompareMetrics> metrics = metrics_of(result, index, index + 1);
  Json outputs = Json::array();
  for (size_t column = 0; column < result.columns.size(); ++column) {
    const CompareCell& cell = result.cells[index][column];
    const auto token = divergence(cell, result.cells[index][0]);
    Json output = {{"adapter", adapter_name(result, column)},
                   {"text", cell.together.text},
                   {"token_ids", cell.together.token_ids},
                   {"finish_reason", to_string(cell.together.finish_reason)}};
    output.update(metrics_json(metrics[column]));
    output["first_divergence"] = token ? Json(*token) : Json();
    output["same_alone"] = cell.alone.token_ids == cell.together.token_ids;
    output["num_cached_tokens"] = cell.together.num_cached_tokens;
    output["num_cached_tokens_again"] = cell.num_cached_tokens;
    outputs.push_back(std::move(output));
  }
  return {{"index", index},
          {"id", prompt.id},
          {"prompt", prompt.text},
          {"num_prompt_tokens", prompt.token_ids.size()},
          {"outputs", std::move(outputs)}};
}

Json adapters_json(const CompareResult& result) {
  Json adapters = Json::array();
  for (size_t i = 1; i < result.columns.size(); ++i) {
    const CompareColumn& column = result.columns[i];
    adapters.push_back({{"name", column.name},
                        {"path", column.path},
                        {"rank", column.rank},
                        {"weight_bytes", column.weight_bytes},
                        {"resident_bytes", column.arena_bytes},
                        {"load_ms", column.read_s * 1e3}});
  }
  return adapters;
}

Json summary_json(const CompareResult& result) {
  Json columns = Json::array();
  const std::vector<CompareMetrics> metrics = metrics_of(result, 0, result.prompts.size());
  for (size_t column = 0; column < metrics.size(); ++column) {
    Json row = {{"adapter", adapter_name(result, column)}};
    row.update(metrics_json(metrics[column]));
    row["num_same_as_base"] = metrics[column].num_equal;
    columns.push_back(std::move(row));
  }
  return columns;
}

Json checks_json(const CompareReport& report) {
  Json differences = Json::array();
  for (const CompareVerdict::Difference& difference : report.verdict.differences) {
    differences.push_back({{"index", difference.prompt},
                           {"adapter", adapter_name(report.result, difference.column)},
                           {"token", difference.token}});
  }
  Json equal = Json::array();
  for (const auto& [column, is_applied] : report.verdict.equal_to_base) {
    equal.push_back({{"adapter", report.result.columns[column].name}, {"is_applied", is_applied}});
  }
  return {{"batch_independent", differences.empty()},
          {"differences", std::move(differences)},
          {"equal_to_base", std::move(equal)}};
}

}  // namespace

nlohmann::ordered_json json_report(const CompareReport& report) {
  const CompareResult& result = report.result;
  const CompareCacheHits hits = cache_hits(report);
  const int64_t adapter_bytes = sum_arena_bytes(result);
  Json prompts = Json::array();
  for (size_t i = 0; i < result.prompts.size(); ++i) prompts.push_back(prompt_json(result, i));
  return {{"model", report.model},
          {"architecture", report.engine.architecture},
          {"dtype", report.engine.dtype},
          {"device", report.engine.device},
          {"chat_template", report.chat_template},
          {"system", report.system.empty() ? Json() : Json(report.system)},
          {"sampling", report.sampling},
          {"seed", report.seed},
          {"adapters", adapters_json(result)},
          {"prompts", std::move(prompts)},
          {"columns", summary_json(result)},
          {"kl",
           {{"of", "adapter || base, token at position 0"},
            {"unit", "nats"},
            {"num_tokens", report.engine.vocab_size}}},
          {"prefix_cache",
           {{"enabled", report.engine.enable_prefix_caching},
            {"num_prompt_tokens", hits.num_prompt_tokens},
            {"num_found", hits.together},
            {"num_found_again", hits.again},
            {"num_in_whole_blocks", hits.whole_blocks}}},
          {"memory",
           {{"weight_bytes", report.engine.weight_bytes},
            {"adapter_bytes", adapter_bytes},
            {"kv_cache_bytes", report.engine.kv_cache_bytes},
            {"together_bytes", report.engine.weight_bytes + adapter_bytes},
            {"separate_bytes", std::ssize(result.columns) * report.engine.weight_bytes}}},
          {"checks", checks_json(report)}};
}

}  // namespace quire
