// POST /v1/load_lora_adapter and /v1/unload_lora_adapter, in vLLM's shapes.  Whoever may call them
// is trusted: a path names any directory that this process can read.
#include <filesystem>
#include <utility>

#include "engine/adapter_registry.h"
#include "server/openai/errors.h"
#include "server/openai/fields.h"
#include "server/openai/handlers.h"
#include "server/openai/prompt.h"
#include "server/openai/served_model.h"
#include "server/server_context.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

using TextOrError = Expected<std::string, RequestError>;

RequestError invalid_input(const char* param, std::string message) {
  return {.type = "InvalidUserInput", .code = {}, .param = param, .message = std::move(message)};
}

Expected<AdapterRegistry*, RequestError> changeable_adapters(ServerContext& context) {
  const auto disabled = [](const char* flag) {
    return http_error(404, "runtime_lora_disabled",
                      std::string("Adapters cannot be loaded or unloaded at run time here; start "
                                  "the server with ") +
                          flag + ".");
  };
  if (!context.config.enable_runtime_lora) return Unexpected{disabled("--enable-runtime-lora")};
  AdapterRegistry* adapters = context.engine.adapters();
  if (adapters == nullptr) return Unexpected{disabled("--enable-lora")};
  return adapters;
}

// A relative path is meant within lora_dir, if there is one and it has that directory.
Expected<std::string, RequestError> adapter_path(const std::string& path,
                                                 const std::string& lora_dir) {
  const fs::path given(path);
  if (lora_dir.empty() || given.is_absolute()) return path;
  for (const fs::path& part : given) {
    if (part == "..") {
      return Unexpected{
          invalid_input("lora_path", "A relative 'lora_path' must not contain '..'.")};
    }
  }
  std::error_code error;
  const fs::path inside = fs::path(lora_dir) / given;
  return fs::is_directory(inside, error) ? inside.string() : path;
}

// The registry's refusals, under vLLM's names.
RequestError in_vllm_terms(RequestError error) {
  error.type = error.http_status == 404 ? "NotFoundError" : "InvalidUserInput";
  return error;
}

TextOrError load(ServerContext& context, const HttpRequest& request) {
  AdapterRegistry& adapters = *QUIRE_TRY(changeable_adapters(context));
  const Json body = QUIRE_TRY(parse_body(request));
  std::string name;
  std::string path;
  bool load_inplace = false;
  bool is_3d_lora_weight = false;
  Fields fields(body);
  fields.read("lora_name", name);
  fields.read("lora_path", path);
  fields.read("load_inplace", load_inplace);
  fields.read("is_3d_lora_weight", is_3d_lora_weight);
  if (is_3d_lora_weight) {
    fields.fail(not_supported("is_3d_lora_weight", "Adapters of experts' fused weights"));
  }
  if (fields.error()) return Unexpected{*fields.error()};
  if (name.empty() || path.empty()) {
    return Unexpected{invalid_input(name.empty() ? "lora_name" : "lora_path",
                                    "Both 'lora_name' and 'lora_path' must be provided.")};
  }
  if (is_base_model(context, name)) {
    return Unexpected{
        invalid_input("lora_name", "The name '" + name + "' is that of the base model.")};
  }
  if (!load_inplace && adapters.contains(name)) {
    return Unexpected{invalid_input(
        "lora_name", "The lora adapter '" + name +
                         "' has already been loaded. If you want to load the adapter in place, set "
                         "'load_inplace' to True.")};
  }
  path = QUIRE_TRY(adapter_path(path, adapters.config().lora_dir));
  const auto added = adapters.add({.lora_name = name, .lora_path = path}, load_inplace);
  if (!added) return Unexpected{in_vllm_terms(added.error())};
  return "Success: LoRA adapter '" + name + "' added successfully.";
}

TextOrError unload(ServerContext& context, const HttpRequest& request) {
  AdapterRegistry& adapters = *QUIRE_TRY(changeable_adapters(context));
  const Json body = QUIRE_TRY(parse_body(request));
  std::string name;
  int64_t int_id = 0;  // the name alone counts
  Fields fields(body);
  fields.read("lora_name", name);
  fields.read("lora_int_id", int_id);
  if (fields.error()) return Unexpected{*fields.error()};
  if (name.empty()) {
    return Unexpected{
        invalid_input("lora_name", "'lora_name' needs to be provided to unload a LoRA adapter.")};
  }
  auto removed = adapters.remove(name);
  if (!removed) {
    RequestError error = in_vllm_terms(std::move(removed.error()));
    error.param = "lora_name";
    error.message = "The lora adapter '" + name + "' cannot be found.";
    return Unexpected{std::move(error)};
  }
  context.adapter_usage.forget(name);
  return "Success: LoRA adapter '" + name + "' removed successfully.";
}

HttpResponse to_response(TextOrError text) {
  if (!text) return error_response(text.error());
  return {.content_type = "text/plain; charset=utf-8", .body = std::move(*text)};
}

}  // namespace

HttpResponse post_load_lora_adapter(ServerContext& context, const HttpRequest& request) {
  return to_response(load(context, request));
}

HttpResponse post_unload_lora_adapter(ServerContext& context, const HttpRequest& request) {
  return to_response(unload(context, request));
}

}  // namespace quire
