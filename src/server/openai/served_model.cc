#include "server/openai/served_model.h"

#include <algorithm>
#include <utility>

#include "engine/adapter_registry.h"
#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {

bool is_base_model(const ServerContext& context, const std::string& model) {
  const auto& names = context.config.served_model_names;
  return std::ranges::find(names, model) != names.end();
}

Expected<void, RequestError> check_model(ServerContext& context, const std::string& model) {
  if (model.empty() || is_base_model(context, model)) return {};
  const AdapterRegistry* adapters = context.engine.adapters();
  if (adapters == nullptr || !adapters->is_known(model)) return Unexpected{model_not_found(model)};
  return {};
}

Expected<ServedModel, RequestError> resolve_model(ServerContext& context, const std::string& model,
                                                  AdapterReading reading) {
  if (model.empty()) return ServedModel{.name = context.config.served_model_names.front()};
  if (is_base_model(context, model)) return ServedModel{.name = model};
  QUIRE_TRY(check_model(context, model));
  AdapterRegistry& adapters = *context.engine.adapters();
  ServedModel served{.name = model};
  served.adapter = adapters.acquire_if_in_host_memory(model);
  if (served.adapter != nullptr) return served;
  if (reading == AdapterReading::kDeferred) {
    served.is_deferred = true;
    return served;
  }
  auto adapter = adapters.acquire(model);
  if (!adapter) {
    RequestError error = std::move(adapter.error());
    if (error.http_status == 404 && !adapters.is_known(model)) error = model_not_found(model);
    error.param = "model";
    return Unexpected{std::move(error)};
  }
  served.adapter = std::move(*adapter);
  return served;
}

}  // namespace quire
