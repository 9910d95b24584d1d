// quire bench serve: load on any OpenAI server, measured at the client.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <limits>

#include "base/error.h"
#include "cli/bench/bench_client.h"
#include "cli/bench/bench_dataset.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/bench_stats.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/http_client.h"
#include "cli/sampling_json.h"
#include "cli/text_source.h"
#include "engine/model_path.h"

namespace quire {
namespace {

struct BenchServeFlags {
  BenchClientOptions client;
  DatasetFlags dataset{.num_prompts = 1000};
  ReportFlags report;
  nlohmann::json sampling;
  std::string base_url;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string endpoint;
  std::string backend = "openai";
  std::string tokenizer;
  bool send_token_ids = false;
  std::string request_rate = "inf";
  std::string percentile_metrics = "ttft,tpot,itl";
  std::string metric_percentiles = "50,90,99";
  int num_warmups = 1;
};

void add_target_flags(CLI::App& app, BenchServeFlags& flags) {
  app.option_defaults()->group("Server");
  app.add_option("--base-url", flags.base_url,
                 "Address of the server, instead of --host and --port")
      ->type_name("URL");
  app.add_option("--host", flags.host, "Host");
  app.add_option("--port", flags.port, "Port")->type_name("N");
  app.add_option("--backend,--endpoint-type", flags.backend,
                 "openai: /v1/completions; openai-chat: /v1/chat/completions")
      ->check(CLI::IsMember({"openai", "vllm", "openai-chat"}))
      ->type_name("NAME");
  app.add_option("--endpoint", flags.endpoint, "Path, if not the backend's")->type_name("PATH");
  app.add_option("--model", flags.client.model,
                 "Model to ask for; none: the first the server lists");
  app.add_option("--api-key", flags.client.api_key, "Key for the server");
  app.add_option(
         "--tokenizer", flags.tokenizer,
         "Model directory whose tokenizer makes prompts of exact length; none: English words, "
         "about one token each (the report has the server's counts)")
      ->type_name("DIR");
  app.add_flag("--send-token-ids", flags.send_token_ids,
               "Send prompts as token ids (needs --tokenizer and --backend openai)");
}

void add_load_flags(CLI::App& app, BenchServeFlags& flags) {
  app.option_defaults()->group("Load");
  app.add_option("--request-rate", flags.request_rate, "Requests per second; inf: all at once")
      ->type_name("X");
  app.add_option("--burstiness", flags.client.arrivals.burstiness,
                 "Shape of the gaps between requests; 1: Poisson, less: bursts, more: even")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  add_human_int(app, "--max-concurrency", flags.client.max_concurrency,
                "Requests in flight at most; others wait their turn", 1)
      ->default_str("no limit");
  add_human_int(app, "--num-warmups", flags.num_warmups, "Requests before the measurement", 0);
  app.add_option("--seed", flags.dataset.seed, "Seed of prompts and arrivals")->type_name("N");
  app.add_option("--timeout", flags.client.timeout_s, "Seconds a request may take; 0: no limit")
      ->type_name("S");
  app.add_option("--percentile-metrics", flags.percentile_metrics, "Of ttft, tpot, itl, e2el")
      ->group("Result");
  app.add_option("--metric-percentiles", flags.metric_percentiles, "Percentiles to report")
      ->group("Result");
}

std::vector<std::string> split(const std::string& list) { return CLI::detail::split(list, ','); }

MetricChoice parse_choice(const BenchServeFlags& flags) {
  MetricChoice choice;
  choice.names = split(flags.percentile_metrics);
  for (const std::string& name : choice.names) {
    if (name != "ttft" && name != "tpot" && name != "itl" && name != "e2el") {
      throw LoadError("--percentile-metrics: there is no metric " + name);
    }
  }
  for (const std::string& text : split(flags.metric_percentiles)) {
    double percentile = 0;
    if (!CLI::detail::lexical_cast(text, percentile) || percentile < 0 || percentile > 100) {
      throw LoadError("--metric-percentiles: " + text + " is not a number from 0 to 100");
    }
    choice.percentiles.push_back(percentile);
  }
  return choice;
}

void resolve_target(BenchServeFlags& flags) {
  const std::string root = server_root(
      flags.base_url.empty() ? fmt::format("{}:{}", flags.host, flags.port) : flags.base_url);
  BenchClientOptions& client = flags.client;
  client.is_chat = flags.backend == "openai-chat";
  const char* path = client.is_chat ? "/v1/chat/completions" : "/v1/completions";
  client.url = root + (flags.endpoint.empty() ? path : flags.endpoint);
  if (client.model.empty()) {
    client.model = first_served_model(root, client.api_key);
  }
  if (flags.request_rate != "inf" &&
      (!CLI::detail::lexical_cast(flags.request_rate, client.arrivals.request_rate) ||
       client.arrivals.request_rate <= 0)) {
    throw LoadError("--request-rate " + flags.request_rate + " is neither positive nor inf");
  }
  client.arrivals.seed = flags.dataset.seed;
  client.sampling = flags.sampling;
  if (!client.sampling.contains("temperature")) {
    client.sampling["temperature"] = 0;
  }
}

std::vector<BenchPrompt> make_prompts(const BenchServeFlags& flags) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) {
    tokenizer = load_tokenizer(resolve_model_path(flags.tokenizer));
  }
  if (!flags.send_token_ids) {
    return make_text_prompts(flags.dataset, tokenizer.get());
  }
  if (tokenizer == nullptr || flags.client.is_chat || flags.dataset.name == "jsonl") {
    throw LoadError("--send-token-ids needs --tokenizer, --backend openai and random prompts");
  }
  return make_token_prompts(flags.dataset, tokenizer->vocab_size());
}

// One or more requests outside the measurement.  Throws LoadError if the server refuses them.
void warm_up(const BenchServeFlags& flags, const std::vector<BenchPrompt>& prompts) {
  for (int i = 0; i < flags.num_warmups; ++i) {
    const auto timings = run_bench_client(flags.client, {prompts.front()}).timings;
    if (!timings[0].ok) {
      throw LoadError("the first request failed: " + timings[0].error);
    }
  }
}

}  // namespace

int run_bench_serve(const CommandArgs& args) {
  CLI::App app("Put load on an OpenAI server and measure it.", "bench serve");
  set_up_app(app);
  BenchServeFlags flags;
  add_target_flags(app, flags);
  add_load_flags(app, flags);
  add_dataset_flags(app, flags.dataset);
  add_sampling_flags(app, flags.sampling);
  add_report_flags(app, flags.report);
  if (!parse_flags(app, args)) {
    return 0;
  }
  const MetricChoice choice = parse_choice(flags);
  resolve_target(flags);
  const std::vector<BenchPrompt> prompts = make_prompts(flags);
  warm_up(flags, prompts);
  const BenchClientResult result = run_bench_client(flags.client, prompts);
  const BenchMetrics metrics =
      compute_metrics(result.timings, result.duration_s, choice.percentiles);
  fmt::print("{}", metrics_table(metrics, choice));

  nlohmann::ordered_json report = report_head("serve", args, flags.client.model, nullptr);
  report.update(nlohmann::ordered_json{{"url", flags.client.url},
                                       {"backend", flags.backend},
                                       {"num_prompts", prompts.size()},
                                       {"request_rate", flags.request_rate},
                                       {"burstiness", flags.client.arrivals.burstiness},
                                       {"max_concurrency", flags.client.max_concurrency},
                                       {"peak_concurrency", result.peak_concurrency},
                                       {"seed", flags.dataset.seed}});
  report.update(metrics_json(metrics, choice));
  save_report(flags.report, report);
  for (const RequestTiming& timing : result.timings) {
    if (!timing.ok) {
      fmt::print(stderr, "first failure: {}\n", timing.error);
      return 1;
    }
  }
  return 0;
}

}  // namespace quire
