#include "server/admission.h"

#include <exception>
#include <memory>
#include <utility>

#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {
namespace {

using Keys = std::vector<std::string>;

// As vLLM: keys guard /v1 and nothing else, so that probes and scrapers need none.  Where there are
// keys of administrators, they open everything, and the other keys do not open their routes.
bool is_open(const ServerContext& context, const Route* route, std::string_view path) {
  if (path != "/v1" && !path.starts_with("/v1/")) return true;
  const ServerConfig& config = context.config;
  if (route != nullptr && route->key == KeyKind::kAdmin && !config.admin_api_keys.empty())
    return false;
  return config.api_keys.empty();
}

bool is_among(std::string_view key, const Keys& keys) {
  bool valid = false;
  for (const std::string& known : keys) valid = equals_in_constant_time(key, known) || valid;
  return valid;
}

bool has_valid_key(const ServerContext& context, const Route* route,
                   std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() < kScheme.size() ||
      !equals_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return false;
  }
  const std::string_view key = authorization.substr(kScheme.size());
  const ServerConfig& config = context.config;
  const bool is_admin = is_among(key, config.admin_api_keys);
  const bool only_admin =
      route != nullptr && route->key == KeyKind::kAdmin && !config.admin_api_keys.empty();
  return is_admin || (!only_admin && is_among(key, config.api_keys));
}

RequestError worker_failure(ServerContext& context, const char* reason) {
  if (context.config.log_error) context.config.log_error(std::string("internal error: ") + reason);
  return http_error(500, "internal_error", "The server failed to process the request.");
}

// A request on its way from worker to worker.
struct Job {
  ServerContext& context;
  const Route& route;
  std::shared_ptr<const HttpRequest> request;
  ResponseWriter writer;
};

void answer(const Job& job, HttpResponse response) {
  job.writer.post([writer = job.writer, response = std::move(response)]() mutable {
    writer.send(std::move(response));
  });
}

void refuse(const Job& job, const RequestError& error) {
  job.context.metrics.count_rejected(error.http_status);
  answer(job, error_response(error));
}

void run_in_worker(const Job& job, AdapterReading reading);

// False if too many requests wait for such a worker.
bool submit(const Job& job, AdapterReading reading) {
  WorkerPool& workers =
      reading == AdapterReading::kAllowed ? job.context.adapter_workers : job.context.workers;
  return workers.submit([job, reading] { run_in_worker(job, reading); });
}

// An exception here is a bug of ours or exhausted memory; it costs one request.
void run_in_worker(const Job& job, AdapterReading reading) {
  if (job.writer.gone()) return;
  try {
    if (job.route.answer != nullptr) {
      answer(job, job.route.answer(job.context, *job.request));
      return;
    }
    auto prepared = job.route.prepare(job.context, *job.request, reading);
    if (!prepared) {
      refuse(job, prepared.error());
    } else if (*prepared != nullptr) {
      job.writer.post(
          [writer = job.writer, generation = std::move(*prepared)] { generation->start(writer); });
    } else if (!submit(job, AdapterReading::kAllowed)) {
      refuse(job, overloaded());
    }
  } catch (const std::exception& error) {
    refuse(job, worker_failure(job.context, error.what()));
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
  } else if (!is_open(context, match.route, request.path) &&
             !has_valid_key(context, match.route, request.header("authorization"))) {
    admission.refusal = error_response(invalid_api_key());
    admission.refusal->headers.push_back({"WWW-Authenticate", "Bearer"});
  } else if (match.allowed_methods.empty()) {
    admission.refusal = error_response(unknown_url(request.method, request.path));
  } else if (match.route == nullptr) {
    admission.refusal = error_response(method_not_allowed(request.method, match.allowed_methods));
    admission.refusal->headers.push_back({"Allow", std::move(match.allowed_methods)});
  } else if (context.draining && match.route->runs_on != RunsOn::kIoThread) {
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
  const Job job{context, route, std::make_shared<const HttpRequest>(std::move(request)), writer};
  const auto reading = route.runs_on == RunsOn::kAdapterWorker ? AdapterReading::kAllowed
                                                               : AdapterReading::kDeferred;
  if (!submit(job, reading)) {
    context.metrics.count_rejected(429);
    writer.send(error_response(overloaded()));
  }
}

}  // namespace quire
