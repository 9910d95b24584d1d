// Whose turn it is when adapters want more than there is: start-time fair queueing.
//
// A request's place in the line is where its tenant's last one ends, in tokens of service, but
// never behind what is being served: a tenant with a thousand requests at once stands in line with
// one after the other, and another's single request goes in between.
// Sources: Goyal, Vin, Cheng 1996, "Start-time fair queueing"; what tokens cost after Sheng et al.
// 2023, "Fairness in serving large language models", arXiv:2401.00588.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace quire {

class FairShare {
 public:
  // Of the tenant's next request, which will be so much work.  Smaller places are served first.
  double take_place(uint64_t tenant, int num_prompt_tokens, int num_output_tokens);
  // A request with this place is being served.
  void serve(double place);
  // Tenants whose requests have not all been served; a few others may be counted.
  size_t num_tenants() const { return ends_.size(); }

 private:
  static constexpr double kOutputCost = 2.0;      // of a token, where one of a prompt costs 1
  static constexpr size_t kFirstCleaning = 1024;  // tenants

  std::unordered_map<uint64_t, double> ends_;  // by tenant
  double served_ = 0.0;
  size_t clean_at_ = kFirstCleaning;
};

}  // namespace quire
