// GET /v1/models and /v1/models/{id}
#include <optional>
#include <string_view>

#include "engine/adapter_registry.h"
#include "server/json.h"
#include "server/openai/errors.h"
#include "server/openai/handlers.h"
#include "server/openai/served_model.h"
#include "server/server_context.h"

namespace quire {
namespace {

struct Card {
  std::string id;
  std::string root;
  Json parent;  // null for the base model
};

Json card_json(const ServerContext& context, Card card) {
  return {{"id", std::move(card.id)},
          {"object", "model"},
          {"created", context.created_unix_s},
          {"owned_by", "quire"},
          {"root", std::move(card.root)},
          {"parent", std::move(card.parent)},
          {"max_model_len", context.engine.info().max_model_len}};
}

Json base_card(const ServerContext& context, const std::string& name) {
  return card_json(context, {name, context.config.served_model_names.front(), nullptr});
}

Json adapter_card(const ServerContext& context, const AdapterInfo& info) {
  const auto& parents = context.config.adapter_parents;
  const auto found = parents.find(info.name);
  const std::string& parent =
      found == parents.end() ? context.config.served_model_names.front() : found->second;
  return card_json(context, {info.name, info.path, parent});
}

}  // namespace

HttpResponse get_models(ServerContext& context, const HttpRequest&) {
  Json data = Json::array();
  for (const std::string& name : context.config.served_model_names)
    data.push_back(base_card(context, name));
  if (const AdapterRegistry* adapters = context.engine.adapters()) {
    std::vector<AdapterInfo> infos = adapters->list();
    for (AdapterInfo& unread : adapters->list_unread()) infos.push_back(std::move(unread));
    for (const AdapterInfo& info : infos) {
      if (!is_base_model(context, info.name)) data.push_back(adapter_card(context, info));
    }
  }
  return {.body = dump_json({{"object", "list"}, {"data", std::move(data)}})};
}

HttpResponse get_model(ServerContext& context, const HttpRequest& request) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = request.path.substr(kPrefix.size());
  if (is_base_model(context, name)) return {.body = dump_json(base_card(context, name))};
  if (const AdapterRegistry* adapters = context.engine.adapters()) {
    if (const auto info = adapters->info(name))
      return {.body = dump_json(adapter_card(context, *info))};
  }
  return error_response(model_not_found(name));
}

}  // namespace quire
