// A metric of no value yet, with its labels: the start of those that are made when they are asked
// for.
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/labels.h>

namespace quire {

inline prometheus::ClientMetric labelled_metric(const prometheus::Labels& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
  return metric;
}

}  // namespace quire
