// The functions behind the route table, one file per group.
#pragma once

#include <memory>

#include "base/error.h"
#include "base/expected.h"
#include "server/adapter_reading.h"
#include "server/generation.h"
#include "server/http.h"

namespace quire {

struct ServerContext;

// Null if the request's adapter is to be read first, and that is not allowed here.
using PreparedGeneration = Expected<std::shared_ptr<Generation>, RequestError>;

PreparedGeneration prepare_completion(ServerContext& context, const HttpRequest& request,
                                      AdapterReading reading);
PreparedGeneration prepare_chat_completion(ServerContext& context, const HttpRequest& request,
                                           AdapterReading reading);

HttpResponse get_models(ServerContext& context, const HttpRequest& request);
HttpResponse get_model(ServerContext& context, const HttpRequest& request);

HttpResponse post_load_lora_adapter(ServerContext& context, const HttpRequest& request);
HttpResponse post_unload_lora_adapter(ServerContext& context, const HttpRequest& request);

HttpResponse post_tokenize(ServerContext& context, const HttpRequest& request);
HttpResponse post_detokenize(ServerContext& context, const HttpRequest& request);

// 200 while the engine lives; says nothing of load.  For liveness probes.
HttpResponse get_health(ServerContext& context, const HttpRequest& request);
// 200 while new requests are welcome; 503 while draining or after an engine failure.
HttpResponse get_ready(ServerContext& context, const HttpRequest& request);
HttpResponse get_version(ServerContext& context, const HttpRequest& request);
HttpResponse get_load(ServerContext& context, const HttpRequest& request);
HttpResponse get_metrics(ServerContext& context, const HttpRequest& request);

}  // namespace quire
