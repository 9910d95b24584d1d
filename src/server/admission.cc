#include "server/admission.h"

#include <exception>
#include <memory>
#include <utility>

#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {
namespace {

// As vLLM: keys guard /v1 and nothing else, so that probes and scrapers need none.
bool needs_key(const ServerContext& context, std::string_view path) {
  return !context.config.api_keys.empty() && (path == "/v1" || path.starts_with("/v1/"));
}

bool has_valid_key(const ServerContext& context, std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() < kScheme.size() ||
      !equals_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return false;
  }
  const std::string_view key = authorization.substr(kScheme.size());
  bool valid = false;
  for (const std::string& known : context.config.api_keys) {
    valid = equals_in_constant_time(key, known) || valid;
  }
  return valid;
}

RequestError worker_failure(ServerContext& context, const char* reason) {
  if (context.config.log_error) context.config.log_error(std::string("internal error: ") + reason);
  return http_error(500, "internal_error", "The server failed to process the request.");
}

// Runs on a worker.  An exception here is a bug of ours or exhausted memory; it costs one request.
void run_in_worker(ServerContext& context, const Route& route, const HttpRequest& request,
                   const ResponseWriter& writer) {
  if (writer.gone()) return;
  const auto answer = [&](HttpResponse response) {
    writer.post(
        [writer, response = std::move(response)]() mutable { writer.send(std::move(response)); });
  };
  const auto refuse = [&](const RequestError& error) {
    context.metrics.count_rejected(error.http_status);
    answer(error_response(error));
  };
  try {
    if (route.answer != nullptr) {
      answer(route.answer(context, request));
      return;
    }
    auto prepared = route.prepare(context, request);
    if (!prepared) {
      refuse(prepared.error());
      return;
    }
    writer.post([writer, generation = std::move(*prepared)] { generation->start(writer); });
  } catch (const std::exception& error) {
    refuse(worker_failure(context, error.what()));
  }
}

}  // namespace

Admission admit(ServerContext& context, const HttpRequest& request) {
  Admission admission;
  RouteMatch match = find_route(request.method, request.path);
  admission.route = match.route;
  if (request.method == "OPTIONS" && (!match.allowed_methods.empty() || request.path == "*")) {
    admission.refusal = HttpResponse{.status = 204,
                                     .content_type = {},
                                     .headers = {{"Allow", std::move(match.allowed_methods)}}};
  } else if (needs_key(context, request.path) &&
             !has_valid_key(context, request.header("authorization"))) {
    admission.refusal = error_response(invalid_api_key());
    admission.refusal->headers.push_back({"WWW-Authenticate", "Bearer"});
  } else if (match.allowed_methods.empty()) {
    admission.refusal = error_response(unknown_url(request.method, request.path));
  } else if (match.route == nullptr) {
    admission.refusal = error_response(method_not_allowed(request.method, match.allowed_methods));
    admission.refusal->headers.push_back({"Allow", std::move(match.allowed_methods)});
  } else if (context.draining && match.route->runs_on == RunsOn::kWorker) {
    context.metrics.count_rejected(503);
    admission.refusal = error_response(shutting_down());
  }
  return admission;
}

void dispatch(ServerContext& context, const Route& route, HttpRequest&& request,
              ResponseWriter writer) {
  if (route.runs_on == RunsOn::kIoThread) {
    writer.send(route.answer(context, request));
    return;
  }
  auto shared = std::make_shared<const HttpRequest>(std::move(request));
  const bool queued = context.workers.submit(
      [&context, &route, shared, writer] { run_in_worker(context, route, *shared, writer); });
  if (!queued) {
    context.metrics.count_rejected(429);
    writer.send(error_response(overloaded()));
  }
}

}  // namespace quire
