// quire serve: a model behind the OpenAI API.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <memory>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/human_number.h"
#include "cli/local_model.h"
#include "cli/memory_line.h"
#include "cli/request_pool.h"
#include "cli/signal_watcher.h"
#include "cli/stats_logger.h"
#include "cli/version.h"
#include "engine/adapter_registry.h"
#include "server/server.h"

namespace quire {
namespace {

constexpr double kStatsIntervalSeconds = 10;  // vLLM's default

struct ServeFlags {
  EngineFlags engine;
  ServerConfig server;
  std::vector<std::string> api_key_files;
  std::vector<std::string> admin_api_key_files;
  std::string log_level = "info";
  bool disable_log_stats = false;
  bool enable_log_requests = false;
};

void add_http_flags(CLI::App& app, ServeFlags& flags) {
  ServerConfig& server = flags.server;
  app.option_defaults()->group("Server");
  app.add_option("--host", server.host, "Address to listen on; 0.0.0.0: all interfaces")
      ->type_name("ADDRESS");
  app.add_option("--port", server.port, "Port; 0: any free one")
      ->check(CLI::Range(0, 65535))
      ->type_name("N");
  app.add_option("--api-key", server.api_keys, "Key that clients of /v1 must send; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--api-key-file", flags.api_key_files,
                 "File with one key per line; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--served-model-name", server.served_model_names,
                 "Names the model answers to, the first being reported; none: MODEL as given")
      ->type_name("NAME")
      ->expected(1, CLI::detail::expected_max_vector_size);
  app.add_option("--response-role", server.response_role, "Role of the answers in a chat")
      ->type_name("ROLE");
  app.add_option("--max-logprobs", server.limits.max_logprobs,
                 "Most logprobs a request may ask for per token; -1: all")
      ->type_name("N");
  add_switch(app, "enable-prompt-tokens-details", server.enable_prompt_tokens_details,
             "Report cached prompt tokens in usage");
  add_switch(app, "enable-request-id-headers", server.enable_request_id_headers,
             "Send X-Request-Id with each answer");
  add_switch(app, "return-tokens-as-token-ids", server.return_tokens_as_token_ids,
             "Write tokens in logprobs as token_id:N");
  add_switch(app, "enable-force-include-usage", server.enable_force_include_usage,
             "Send usage at the end of every stream");
}

void add_adapter_flags(CLI::App& app, ServeFlags& flags) {
  ServerConfig& server = flags.server;
  add_lora_modules_flags(app, flags.engine.lora, flags.engine.config);
  app.option_defaults()->group("LoRA");
  add_switch(
      app, "enable-runtime-lora", server.enable_runtime_lora,
      "Let clients load and unload adapters: /v1/load_lora_adapter, /v1/unload_lora_adapter. "
      "They may name any directory of this machine; see --admin-api-key");
  app.add_option("--admin-api-key", server.admin_api_keys,
                 "Key that loading and unloading adapters needs; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--admin-api-key-file", flags.admin_api_key_files,
                 "File with one such key per line; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  add_human_int(app, "--max-requests-per-adapter", server.max_requests_per_adapter,
                "Requests of one adapter in flight beyond which new ones get 429; 0: no limit", 0);
}

void add_limit_flags(CLI::App& app, ServeFlags& flags) {
  ServerConfig& server = flags.server;
  app.option_defaults()->group("Limits");
  add_human_int(app, "--max-connections", server.max_connections, "Open connections", 1);
  add_human_int(app, "--max-body-bytes", server.max_body_bytes, "Largest request body", 1)
      ->default_str("32M");
  add_human_int(app, "--io-threads", server.io_threads,
                "Threads for HTTP and text, beside the compute threads", 1);
  app.add_option("--request-timeout", server.request_timeout_s,
                 "Seconds a client has to send its request")
      ->check(CLI::PositiveNumber)
      ->type_name("S");
  app.add_option("--keep-alive-timeout", server.keep_alive_timeout_s,
                 "Seconds an idle connection stays open")
      ->check(CLI::PositiveNumber)
      ->type_name("S");
  app.add_option("--shutdown-timeout", server.shutdown_timeout_s,
                 "Seconds that running requests get after SIGTERM")
      ->check(CLI::NonNegativeNumber)
      ->type_name("S");
}

void add_log_flags(CLI::App& app, ServeFlags& flags) {
  app.add_option("--log-level,--uvicorn-log-level", flags.log_level, "Least important line logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "critical", "trace"}))
      ->type_name("LEVEL")
      ->capture_default_str()
      ->group("Logging");
  app.add_flag(
         "--disable-log-stats", flags.disable_log_stats,
         fmt::format("Leave out the line of statistics every {:.0f} s", kStatsIntervalSeconds))
      ->group("Logging");
  add_switch(app, "enable-log-requests", flags.enable_log_requests,
             "Log a line per API request: id, route, status, time and token counts; never its text")
      ->group("Logging");
}

void read_key_files(const std::vector<std::string>& paths, std::vector<std::string>& keys) {
  for (const std::string& path : paths) {
    std::ifstream file(path);
    const size_t before = keys.size();
    for (std::string line; std::getline(file, line);) {
      line.erase(line.find_last_not_of(" \t\r") + 1);
      if (!line.empty()) {
        keys.push_back(line);
      }
    }
    if (keys.size() == before) {
      throw LoadError("the key file " + path + " holds no key");
    }
  }
}

// Names of requests must be those of one model each.
void settle_adapters(ServeFlags& flags) {
  ServerConfig& server = flags.server;
  const auto& names = server.served_model_names;
  const auto is_served = [&](const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  for (const LoraModule& module : flags.engine.lora.modules) {
    if (is_served(module.name)) {
      throw LoadError("--lora-modules: " + module.name +
                      " is the base model's name already; choose another, or set "
                      "--served-model-name");
    }
    if (is_served(module.base_model_name)) {
      server.adapter_parents[module.name] = module.base_model_name;
    } else if (!module.base_model_name.empty()) {
      spdlog::warn("adapter {} is listed under {}: its base_model_name {} is not served",
                   module.name, names.front(), module.base_model_name);
    }
  }
  if (server.enable_runtime_lora && server.admin_api_keys.empty() && server.api_keys.empty()) {
    spdlog::warn("anyone who reaches this server can load adapters: set --admin-api-key");
  }
}

void log_adapters(const EngineFlags& flags, EngineClient& engine) {
  if (engine.adapters() == nullptr) {
    return;
  }
  for (const AdapterInfo& info : engine.adapters()->list()) {
    spdlog::info("adapter {} of rank {}, {}, from {}", info.name, info.max_rank,
                 format_bytes(info.num_bytes), info.path);
  }
  if (!flags.config.lora_dir.empty()) {
    spdlog::info("adapters of other names are looked for in {}", flags.config.lora_dir);
  }
}

void log_model(const EngineFlags& flags, const EngineInfo& info, double load_s) {
  const int64_t num_tokens = info.num_blocks * info.block_size;
  spdlog::info("quire {} ({})", version_string(), version_commit());
  spdlog::info("model {} ({}, {}), loaded in {:.2f} s from {}", flags.config.model,
               info.architecture, info.dtype, load_s, info.model_path);
  spdlog::info("device {}, kernels {}, {} threads", info.device, info.kernels, info.num_threads);
  spdlog::info("KV cache {} blocks of {} = {} tokens; max model length {}", info.num_blocks,
               info.block_size, format_count(num_tokens), format_count(info.max_model_len));
  const double concurrency =
      static_cast<double>(num_tokens) / static_cast<double>(std::max(info.max_model_len, 1));
  spdlog::info("max concurrency {:.{}f} requests of full length; at most {} run at once",
               concurrency, concurrency < 10 ? 1 : 0, info.max_num_seqs);
}

// The host as a client on this machine would write it.
std::string client_host(const std::string& host) {
  if (host == "0.0.0.0" || host == "::" || host.empty()) {
    return "localhost";
  }
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

void log_address(const ServerConfig& config, uint16_t port, bool has_chat_template) {
  const std::string url = fmt::format("http://{}:{}", client_host(config.host), port);
  const std::string key = config.api_keys.empty() ? "" : " -H \"Authorization: Bearer $API_KEY\"";
  spdlog::info("listening on {}", url);
  const std::string& name = config.served_model_names.front();
  const std::string body =
      has_chat_template
          ? fmt::format(
                R"({{"model": "{}", "messages": [{{"role": "user", "content": "Hello!"}}]}})", name)
          : fmt::format(R"({{"model": "{}", "prompt": "Once upon a time"}})", name);
  spdlog::info("try: curl {}/v1/{}{} -H 'Content-Type: application/json' -d '{}'", url,
               has_chat_template ? "chat/completions" : "completions", key, body);
}

// Turns the first SIGTERM or SIGINT into Server::stop() and the second into an exit.
class Shutdown {
 public:
  // Signals that come before the server exists end the process: nothing is being served.
  void on_signal(int signal) {
    const std::lock_guard lock(mutex_);
    if (server_ == nullptr || stopping_) {
      _exit(128 + signal);
    }
    stopping_ = true;
    spdlog::info("{}: finishing what runs; once more to leave at once", strsignal(signal));
    server_->stop();
  }
  void watch(Server* server) {
    const std::lock_guard lock(mutex_);
    server_ = server;
  }

 private:
  std::mutex mutex_;
  Server* server_ = nullptr;
  bool stopping_ = false;
};

void set_up_log(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("quire"));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(level));
  spdlog::flush_on(spdlog::level::info);
}

// After parsing.  Throws LoadError if flags disagree or a key file has no key.
void settle_flags(ServeFlags& flags) {
  set_up_log(flags.log_level);
  if (flags.server.enable_runtime_lora) {
    if (flags.engine.lora.enable == false) {
      throw LoadError("--enable-runtime-lora and --no-enable-lora exclude each other");
    }
    flags.engine.lora.enable = true;
  }
  settle_model(flags.engine);
  if (flags.server.served_model_names.empty()) {
    flags.server.served_model_names = {flags.engine.config.model};
  }
  read_key_files(flags.api_key_files, flags.server.api_keys);
  read_key_files(flags.admin_api_key_files, flags.server.admin_api_keys);
  settle_adapters(flags);
}

}  // namespace

int run_serve(const CommandArgs& args) {
  CLI::App app("Serve a model over the OpenAI API: /v1/chat/completions, /v1/completions, ...",
               "serve");
  set_up_app(app);
  ServeFlags flags;
  add_http_flags(app, flags);
  add_adapter_flags(app, flags);
  add_limit_flags(app, flags);
  add_log_flags(app, flags);
  add_engine_flags(app, flags.engine);
  std::string config_file;
  app.add_option("--config", config_file,
                 "Read flags from this flat YAML file; the command line wins")
      ->type_name("FILE")
      ->group("Other");
  if (!parse_flags(app, args)) {
    return 0;
  }
  settle_flags(flags);

  Shutdown shutdown;
  const SignalWatcher watcher({SIGTERM, SIGINT}, [&](int signal) { shutdown.on_signal(signal); });
  BoundAddress address(flags.server.host, flags.server.port);
  const Clock::time_point start = Clock::now();
  const LocalModel model = load_local_model(flags.engine, TokenizerUse::kRequired);
  const EngineInfo& info = model.engine->info();
  log_model(flags.engine, info, seconds_since(start));
  spdlog::info("{}", memory_line(model.engine->device_memory()));
  log_adapters(flags.engine, *model.engine);

  ServerConfig& config = flags.server;
  config.chat_template = model.chat_config.source;
  config.limits.vocab_size = info.vocab_size;
  config.default_params = model.default_params;
  config.stop_on_engine_failure = true;
  config.log_error = [](const std::string& line) { spdlog::error("{}", line); };
  if (flags.enable_log_requests) {
    config.log_request = [](const std::string& line) { spdlog::info("{}", line); };
  }
  Server server(config, *model.engine,
                {.tokenizer = model.tokenizer.get(),
                 .chat_template = model.chat_template.get(),
                 .chat_config = model.chat_config},
                std::move(address));
  shutdown.watch(&server);
  log_address(config, server.port(), model.chat_template != nullptr);
  std::unique_ptr<StatsLogger> stats_logger;
  if (!flags.disable_log_stats) {
    stats_logger = std::make_unique<StatsLogger>(*model.engine, kStatsIntervalSeconds);
  }
  server.run();
  shutdown.watch(nullptr);
  if (const EngineStats stats = model.engine->stats(); !stats.healthy) {
    spdlog::critical("stopped because the engine failed: {}", stats.failure);
    return 1;
  }
  spdlog::info("stopped");
  return 0;
}

}  // namespace quire
