#include "server/routes.h"

#include <array>

#include "server/openai/handlers.h"

namespace quire {
namespace {

constexpr std::array kRoutes = {
    Route{"POST", "/v1/completions", RunsOn::kWorker, nullptr, prepare_completion},
    Route{"POST", "/v1/chat/completions", RunsOn::kWorker, nullptr, prepare_chat_completion},
    Route{"GET", "/v1/models", RunsOn::kWorker, get_models, nullptr},
    Route{"GET", "/v1/models/*", RunsOn::kWorker, get_model, nullptr},
    Route{"POST", "/v1/load_lora_adapter", RunsOn::kAdapterWorker, post_load_lora_adapter, nullptr,
          KeyKind::kAdmin},
    Route{"POST", "/v1/unload_lora_adapter", RunsOn::kAdapterWorker, post_unload_lora_adapter,
          nullptr, KeyKind::kAdmin},
    Route{"POST", "/tokenize", RunsOn::kWorker, post_tokenize, nullptr},
    Route{"POST", "/detokenize", RunsOn::kWorker, post_detokenize, nullptr},
    Route{"GET", "/health", RunsOn::kIoThread, get_health, nullptr},
    Route{"GET", "/ready", RunsOn::kIoThread, get_ready, nullptr},
    Route{"GET", "/ping", RunsOn::kIoThread, get_health, nullptr},
    Route{"POST", "/ping", RunsOn::kIoThread, get_health, nullptr},
    Route{"GET", "/version", RunsOn::kIoThread, get_version, nullptr},
    Route{"GET", "/load", RunsOn::kIoThread, get_load, nullptr},
    Route{"GET", "/metrics", RunsOn::kIoThread, get_metrics, nullptr},
};

bool path_matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return pattern == path;
  const std::string_view prefix = pattern.substr(0, pattern.size() - 1);
  return path.size() > prefix.size() && path.starts_with(prefix);
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  const std::string_view sought = method == "HEAD" ? "GET" : method;
  for (const Route& route : kRoutes) {
    if (!path_matches(route.path, path)) continue;
    if (route.method == sought) match.route = &route;
    match.allowed_methods += match.allowed_methods.empty() ? "" : ", ";
    match.allowed_methods += route.method;
    if (route.method == "GET") match.allowed_methods += ", HEAD";
  }
  if (!match.allowed_methods.empty()) match.allowed_methods += ", OPTIONS";
  return match;
}

}  // namespace quire
