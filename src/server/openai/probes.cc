// /health, /ready, /ping, /version, /load and /metrics
#include "server/json.h"
#include "server/openai/errors.h"
#include "server/openai/handlers.h"
#include "server/server_context.h"

namespace quire {

HttpResponse get_health(ServerContext& context, const HttpRequest&) {
  const EngineStats stats = context.engine.stats();
  if (!stats.healthy) return error_response(engine_failed(stats.failure));
  return {.content_type = {}};
}

HttpResponse get_ready(ServerContext& context, const HttpRequest& request) {
  if (context.draining) return error_response(shutting_down());
  return get_health(context, request);
}

HttpResponse get_version(ServerContext&, const HttpRequest&) {
  return {.body = dump_json({{"version", QUIRE_VERSION}})};
}

HttpResponse get_load(ServerContext& context, const HttpRequest&) {
  return {.body = dump_json({{"server_load", context.num_generations.load()}})};
}

HttpResponse get_metrics(ServerContext& context, const HttpRequest&) {
  const ServerGauges gauges{.num_connections = context.num_connections.load(),
                            .num_exchanges = context.num_exchanges.load()};
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = context.metrics.expose(context.engine, gauges, context.adapter_usage)};
}

}  // namespace quire
