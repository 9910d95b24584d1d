// The engine's own figures as metrics: already counted there, so they are written out as they
// stand.
#pragma once

#include <prometheus/labels.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "engine/engine_client.h"

namespace quire {

// `labels` go on every metric.
std::vector<prometheus::MetricFamily> engine_metrics(EngineClient& engine,
                                                     const prometheus::Labels& labels);

}  // namespace quire
