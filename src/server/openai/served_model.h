// The `model` field: the base model under its names, or an adapter.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "engine/lora_adapter.h"
#include "server/adapter_reading.h"

namespace quire {

struct ServerContext;

struct ServedModel {
  std::string name;                                      // to be reported
  std::shared_ptr<const LoraAdapter> adapter = nullptr;  // null: the base model
  bool is_deferred = false;  // the adapter is not in host memory, and was not to be read here
};

// What `model` (empty = the first served name) means.  Fails with 404 if it is not served, or with
// 400 if it is an adapter that cannot be used.
Expected<ServedModel, RequestError> resolve_model(ServerContext& context, const std::string& model,
                                                  AdapterReading reading);

// Whether resolve_model() would find it; reads no adapter.
Expected<void, RequestError> check_model(ServerContext& context, const std::string& model);

bool is_base_model(const ServerContext& context, const std::string& model);

}  // namespace quire
