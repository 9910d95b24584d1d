#include "scheduler/fair_share.h"

#include <algorithm>

namespace quire {

double FairShare::take_place(uint64_t tenant, int num_prompt_tokens, int num_output_tokens) {
  if (ends_.size() >= clean_at_) {
    std::erase_if(ends_, [&](const auto& end) { return end.second <= served_; });
    clean_at_ = std::max(kFirstCleaning, 2 * ends_.size());
  }
  double& end = ends_.try_emplace(tenant, served_).first->second;
  const double place = std::max(end, served_);
  end = place + num_prompt_tokens + kOutputCost * num_output_tokens;
  return place;
}

void FairShare::serve(double place) { served_ = std::max(served_, place); }

}  // namespace quire
