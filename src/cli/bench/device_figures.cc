#include "cli/bench/device_figures.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "cli/memory_line.h"

namespace quire {
namespace {

// The statistics once the last step is among them, which is after its tokens have arrived.
EngineStats settled_stats(const EngineClient& engine) {
  constexpr auto kPatience = std::chrono::seconds(1);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    EngineStats stats = engine.stats();
    const bool is_idle = stats.scheduler.num_running == 0 && stats.scheduler.num_waiting == 0;
    if (is_idle || std::chrono::steady_clock::now() > deadline) return stats;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::string flops_text(double flops_per_second) {
  return flops_per_second >= 1e12 ? fmt::format("{:.1f} TFLOP/s", flops_per_second * 1e-12)
                                  : fmt::format("{:.1f} GFLOP/s", flops_per_second * 1e-9);
}

std::string steps_text(const char* name, const StepWork& before, const StepWork& after,
                       const Roofs& roofs) {
  const int64_t num_steps = after.num_steps - before.num_steps;
  if (num_steps == 0) return "";
  const StepRates rates = step_rates(before, after);
  return fmt::format(
      "{} steps: {}, {:.3f} ms each; {:.1f} GB/s = {:.1f} % of the bandwidth, {} = {:.1f} % of the "
      "FLOP/s\n",
      name, num_steps, rates.mean_ms, rates.bytes_per_second * 1e-9,
      100 * rates.bytes_per_second / roofs.bytes_per_second, flops_text(rates.flops_per_second),
      100 * rates.flops_per_second / roofs.flops_per_second);
}

nlohmann::ordered_json steps_json(const StepWork& before, const StepWork& after,
                                  const Roofs& roofs) {
  const StepRates rates = step_rates(before, after);
  return {{"num_steps", after.num_steps - before.num_steps},
          {"mean_ms", rates.mean_ms},
          {"bytes_per_second", rates.bytes_per_second},
          {"fraction_of_bandwidth", rates.bytes_per_second / roofs.bytes_per_second},
          {"flops_per_second", rates.flops_per_second},
          {"fraction_of_flops", rates.flops_per_second / roofs.flops_per_second}};
}

}  // namespace

StepRates step_rates(const StepWork& before, const StepWork& after) {
  const auto num_steps = static_cast<double>(after.num_steps - before.num_steps);
  const double seconds = after.seconds - before.seconds;
  if (num_steps == 0 || seconds <= 0) return {};
  return {.mean_ms = seconds * 1e3 / num_steps,
          .bytes_per_second = (after.bytes - before.bytes) / seconds,
          .flops_per_second = (after.flops - before.flops) / seconds};
}

void DeviceFigures::begin(const EngineClient& engine) { before_ = settled_stats(engine); }

void DeviceFigures::end(const EngineClient& engine) {
  after_ = settled_stats(engine);
  memory_ = engine.device_memory();
}

std::string DeviceFigures::text() const {
  return fmt::format("roofs: {:.1f} GB/s ({}), {} ({})\n", roofs_.bytes_per_second * 1e-9,
                     roofs_.bytes_method, flops_text(roofs_.flops_per_second),
                     roofs_.flops_method) +
         steps_text("decode", before_.decode_steps, after_.decode_steps, roofs_) +
         steps_text("prefill", before_.prefill_steps, after_.prefill_steps, roofs_) +
         fmt::format("{}; at most {} of {} KV cache blocks in use\n", memory_line(memory_),
                     after_.peak_num_blocks_in_use, after_.scheduler.num_blocks);
}

void DeviceFigures::add_to(nlohmann::ordered_json& report) const {
  report["roofs"] = {{"bytes_per_second", roofs_.bytes_per_second},
                     {"bytes_method", roofs_.bytes_method},
                     {"flops_per_second", roofs_.flops_per_second},
                     {"flops_method", roofs_.flops_method}};
  report["decode_steps"] = steps_json(before_.decode_steps, after_.decode_steps, roofs_);
  report["prefill_steps"] = steps_json(before_.prefill_steps, after_.prefill_steps, roofs_);
  report["device_memory_bytes"] = {{"weights", memory_.weights_bytes},
                                   {"kv_cache", memory_.kv_cache_bytes},
                                   {"workspace", memory_.workspace_bytes},
                                   {"other", memory_.other_bytes},
                                   {"free", memory_.free_bytes}};
  report["kv_cache_blocks"] = {{"total", after_.scheduler.num_blocks},
                               {"peak_in_use", after_.peak_num_blocks_in_use}};
}

}  // namespace quire
