// Sampling and log-probabilities over the vocabulary of Llama 3.
#include <algorithm>
#include <vector>

#include "cuda_bench.h"

namespace quire::bench {
namespace {

constexpr int64_t kVocab = 128256;

struct Settings {
  const char* name;
  float temperature;
  int top_k;
  float top_p;
  float min_p;
};

constexpr Settings kSettings[] = {
    {.name = "greedy", .temperature = 0.0F, .top_k = 0, .top_p = 1.0F, .min_p = 0.0F},
    {.name = "temperature", .temperature = 0.8F, .top_k = 0, .top_p = 1.0F, .min_p = 0.0F},
    {.name = "top-k+top-p", .temperature = 0.8F, .top_k = 50, .top_p = 0.95F, .min_p = 0.0F},
    {.name = "top-p", .temperature = 0.8F, .top_k = 0, .top_p = 0.95F, .min_p = 0.0F},
    {.name = "min-p", .temperature = 0.8F, .top_k = 0, .top_p = 1.0F, .min_p = 0.05F}};

// Logits of deviation 2.5, like those of a language model that is unsure; top-p of them alone keeps
// thousands of tokens, which takes the slow way.  `is_peaked`: 30 tokens of each row stand out, as
// they do where the model is sure.
Tensor make_logits(CudaBench& bench, int64_t rows, bool is_peaked) {
  Tensor logits = bench.random({rows, kVocab}, DType::kF32, 2.5F);
  if (!is_peaked) return logits;
  const Tensor peaks({30}, DType::kF32);
  for (int64_t i = 0; i < 30; ++i) {
    peaks.view().as<float>()[i] = 20.0F - 0.2F * static_cast<float>(i);
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < 30; ++i) {
      const int64_t id = (row * 7919 + i * 104729) % kVocab;
      bench.stream().copy(logits.view().row<float>(row) + id, peaks.view().as<float>() + i, 4);
    }
  }
  bench.stream().synchronize();
  return logits;
}

template <typename T>
Tensor repeated(CudaBench& bench, int64_t rows, DType dtype, T value) {
  Tensor host({rows}, dtype);
  std::fill_n(host.view().as<T>(), rows, value);
  return bench.upload(host.view());
}

void bench_sample(CudaBench& bench, int64_t rows, const Settings& settings, bool is_peaked) {
  const std::string name = "sample " + std::string(settings.name) +
                           (is_peaked ? " peaked " : " flat ") + std::to_string(rows) + " x 128256";
  if (!bench.wants(name)) return;
  const Tensor logits = make_logits(bench, rows, is_peaked);
  const Tensor temperature = repeated(bench, rows, DType::kF32, settings.temperature);
  const Tensor top_k = repeated(bench, rows, DType::kI32, settings.top_k);
  const Tensor top_p = repeated(bench, rows, DType::kF32, settings.top_p);
  const Tensor min_p = repeated(bench, rows, DType::kF32, settings.min_p);
  const Tensor seeds = repeated(bench, 2 * rows, DType::kI32, 7);
  const Tensor out({rows}, DType::kI32, *bench.table().device);
  const SampleArgs args{.logits = logits.view(),
                        .temperature = temperature.view(),
                        .top_k = top_k.view(),
                        .top_p = top_p.view(),
                        .min_p = min_p.view(),
                        .seeds = seeds.view().as<const uint64_t>(),
                        .positions = seeds.view().as<const uint64_t>(),
                        .out = out.view()};
  const double num_bytes = static_cast<double>(rows) * kVocab * 4;
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, 10,
                [&](int) { bench.table().sample(bench.stream(), args); });
}

void bench_logprobs(CudaBench& bench, int64_t rows, int num_top) {
  const std::string name =
      "logprobs top " + std::to_string(num_top) + " " + std::to_string(rows) + " x 128256";
  if (!bench.wants(name)) return;
  const Tensor logits = make_logits(bench, rows, false);
  const Tensor token_ids = repeated(bench, rows, DType::kI32, 11);
  const Tensor tops = repeated(bench, rows, DType::kI32, num_top);
  const Device& device = *bench.table().device;
  const Tensor logprob({rows}, DType::kF32, device);
  const Tensor rank({rows}, DType::kI32, device);
  const Tensor top_ids({rows, num_top}, DType::kI32, device);
  const Tensor top_logprobs({rows, num_top}, DType::kF32, device);
  const LogprobsArgs args{.logits = logits.view(),
                          .token_ids = token_ids.view(),
                          .num_top = tops.view(),
                          .max_top = num_top,
                          .logprob = logprob.view(),
                          .rank = rank.view(),
                          .top_ids = top_ids.view(),
                          .top_logprobs = top_logprobs.view()};
  const double num_bytes = static_cast<double>(rows) * kVocab * 4;
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, 10,
                [&](int) { bench.table().logprobs(bench.stream(), args); });
}

}  // namespace

void bench_sampling(CudaBench& bench) {
  for (const int64_t rows : {1, 32, 128, 256}) {
    for (const Settings& settings : kSettings) {
      for (const bool is_peaked : {true, false}) bench_sample(bench, rows, settings, is_peaked);
    }
    for (const int num_top : {1, 20}) bench_logprobs(bench, rows, num_top);
  }
}

}  // namespace quire::bench
