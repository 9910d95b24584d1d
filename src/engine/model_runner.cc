#include "engine/model_runner.h"

#include <utility>

namespace quire {

PendingStep ModelRunner::launch(std::shared_ptr<const SchedulerOutput> step) {
  auto output = std::make_shared<ModelRunnerOutput>();
  const uint64_t ticket = worker_.post([executor = executor_.get(), step = std::move(step),
                                        output] { *output = executor->execute(*step); });
  return {ticket, std::move(output)};
}

ModelRunnerOutput ModelRunner::collect(PendingStep pending) {
  worker_.wait(pending.ticket);
  return std::move(*pending.output);
}

}  // namespace quire
