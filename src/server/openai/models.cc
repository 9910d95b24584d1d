// GET /v1/models and /v1/models/{id}
#include <algorithm>
#include <string_view>

#include "server/json.h"
#include "server/openai/errors.h"
#include "server/openai/handlers.h"
#include "server/server_context.h"

namespace quire {
namespace {

Json model_card(const ServerContext& context, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", context.created_unix_s},
          {"owned_by", "quire"},
          {"root", context.config.served_model_names.front()},
          {"parent", nullptr},
          {"max_model_len", context.engine.info().max_model_len}};
}

}  // namespace

HttpResponse get_models(ServerContext& context, const HttpRequest&) {
  Json data = Json::array();
  for (const std::string& name : context.config.served_model_names)
    data.push_back(model_card(context, name));
  return {.body = dump_json({{"object", "list"}, {"data", std::move(data)}})};
}

HttpResponse get_model(ServerContext& context, const HttpRequest& request) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = request.path.substr(kPrefix.size());
  const auto& names = context.config.served_model_names;
  if (std::ranges::find(names, name) == names.end()) return error_response(model_not_found(name));
  return {.body = dump_json(model_card(context, name))};
}

}  // namespace quire
