// How near an engine's steps come to the limits of its device, and who has the device's memory:
// what bench latency and bench throughput report beside their times.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/engine_client.h"
#include "engine/engine_config.h"
#include "engine/roofs.h"

namespace quire {

// What steps of one kind achieved.
struct StepRates {
  double mean_ms = 0;
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

// Of the steps between two snapshots; all zero if there were none.
StepRates step_rates(const StepWork& before, const StepWork& after);

class DeviceFigures {
 public:
  // Measures the limits.  Throws LoadError as start_engine does.  To be made before the model is
  // loaded, while there is memory for it.
  explicit DeviceFigures(const EngineConfig& config) : roofs_(measure_roofs(config)) {}

  // Steps between the two count; both wait until no request is left in the engine.
  void begin(const EngineClient& engine);
  void end(const EngineClient& engine);

  // After end().
  std::string text() const;
  void add_to(nlohmann::ordered_json& report) const;

 private:
  Roofs roofs_;
  EngineStats before_;
  EngineStats after_;
  DeviceMemory memory_;
};

}  // namespace quire
