#include "engine/model_runner.h"

#include <utility>

namespace quire {

PendingStep ModelRunner::launch(std::shared_ptr<const SchedulerOutput> step) {
  auto flight = std::make_shared<StepInFlight>();
  const uint64_t ticket = worker_.post([executor = executor_.get(), step = std::move(step),
                                        flight] { executor->launch(*step, flight); });
  return {ticket, std::move(flight)};
}

ModelRunnerOutput ModelRunner::collect(PendingStep pending) {
  worker_.wait(pending.ticket);
  return executor_->collect(*pending.flight);
}

}  // namespace quire
