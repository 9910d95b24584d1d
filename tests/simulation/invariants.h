// What must hold of the control plane between any two calls.
#pragma once

#include <span>
#include <string>

#include "scheduler/scheduler.h"

namespace quire::simulation {

// Checks reference counts, free list, prefix cache, block tables, reservations, the adapters in
// place and gauges.
// `live` are all unfinished requests.  Returns what is wrong, or an empty string.
std::string check_state(const Scheduler& scheduler, const SchedulerConfig& config,
                        std::span<const RequestId> live);

// Checks one step against the limits and the policy.  `live` as above, after the step was planned.
std::string check_step(const Scheduler& scheduler, const SchedulerConfig& config,
                       const SchedulerOutput& step, std::span<const RequestId> live);

}  // namespace quire::simulation
