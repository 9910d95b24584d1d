#include "cli/compare/report.h"

#include <span>

#include "cli/compare/metrics.h"

namespace quire {
namespace {

std::optional<double> mean_rate(std::span<const CompareCell* const> cells,
                                CompareAnswer CompareCell::*answer) {
  double sum = 0;
  int count = 0;
  for (const CompareCell* cell : cells) {
    if (const auto rate = (cell->*answer).tokens_per_second()) {
      sum += *rate;
      ++count;
    }
  }
  return count == 0 ? std::nullopt : std::optional(sum / count);
}

CompareMetrics metrics_of(std::span<const CompareCell* const> cells,
                          std::span<const CompareCell* const> base) {
  CompareMetrics metrics;
  const auto count = static_cast<double>(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const CompareCell& cell = *cells[i];
    metrics.num_tokens += cell.together.token_ids.size();
    metrics.ttft_ms += cell.together.ttft_s * 1e3 / count;
    metrics.ttft_alone_ms += cell.alone.ttft_s * 1e3 / count;
    metrics.mean_logprob += cell.together.sum_logprob;
    metrics.kl_to_base += cell.kl_to_base / count;
    metrics.num_equal += divergence(cell, *base[i]) ? 0 : 1;
  }
  metrics.mean_logprob /= static_cast<double>(metrics.num_tokens);
  metrics.tokens_per_second = mean_rate(cells, &CompareCell::together);
  metrics.tokens_per_second_alone = mean_rate(cells, &CompareCell::alone);
  return metrics;
}

}  // namespace

std::optional<size_t> divergence(const CompareCell& cell, const CompareCell& base) {
  return first_divergence(cell.together.token_ids, base.together.token_ids);
}

std::vector<CompareMetrics> metrics_of(const CompareResult& result, size_t first, size_t last) {
  const auto column_cells = [&](size_t column) {
    std::vector<const CompareCell*> cells;
    for (size_t prompt = first; prompt < last; ++prompt) {
      cells.push_back(&result.cells[prompt][column]);
    }
    return cells;
  };
  std::vector<CompareMetrics> metrics;
  metrics.reserve(result.columns.size());
  const std::vector<const CompareCell*> base = column_cells(0);
  for (size_t column = 0; column < result.columns.size(); ++column) {
    metrics.push_back(metrics_of(column_cells(column), base));
  }
  return metrics;
}

CompareVerdict judge(const CompareResult& result) {
  CompareVerdict verdict;
  for (size_t column = 0; column < result.columns.size(); ++column) {
    bool differs_from_base = false;
    bool is_applied = false;
    for (size_t prompt = 0; prompt < result.prompts.size(); ++prompt) {
      const CompareCell& cell = result.cells[prompt][column];
      const auto token = first_divergence(cell.together.token_ids, cell.alone.token_ids);
      if (token) verdict.differences.push_back({prompt, column, *token});
      differs_from_base = differs_from_base || divergence(cell, result.cells[prompt][0]);
      is_applied = is_applied || cell.kl_to_base > 0;
    }
    if (column > 0 && !differs_from_base) verdict.equal_to_base.push_back({column, is_applied});
  }
  return verdict;
}

CompareCacheHits cache_hits(const CompareReport& report) {
  CompareCacheHits hits;
  for (size_t prompt = 0; prompt < report.result.prompts.size(); ++prompt) {
    const auto num_tokens = std::ssize(report.result.prompts[prompt].token_ids);
    for (const CompareCell& cell : report.result.cells[prompt]) {
      hits.num_prompt_tokens += num_tokens;
      hits.together += cell.together.num_cached_tokens;
      hits.again += cell.num_cached_tokens;
      hits.whole_blocks += (num_tokens - 1) / report.engine.block_size * report.engine.block_size;
    }
  }
  return hits;
}

int64_t sum_arena_bytes(const CompareResult& result) {
  int64_t sum = 0;
  for (const CompareColumn& column : result.columns) sum += column.arena_bytes;
  return sum;
}

}  // namespace quire
