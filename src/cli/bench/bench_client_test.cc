#include "cli/bench/bench_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "cli/http_client.h"
#include "cli/text_source.h"
#include "support/canned_http_server.h"

namespace quire {
namespace {

using testing::HasSubstr;

constexpr const char* kStream =
    "data: {\"choices\": [{\"text\": \"Hel\"}]}\n\n"
    "data: {\"choices\": [{\"text\": \"lo\", \"finish_reason\": \"length\"}]}\n\n"
    "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 11, \"completion_tokens\": 4}}\n\n";

BenchClientOptions options_for(const CannedHttpServer& server) {
  BenchClientOptions options;
  options.url = server.url() + "/v1/completions";
  options.model = "m";
  options.sampling = {{"temperature", 0}, {"ignore_eos", true}};
  return options;
}

std::vector<BenchPrompt> prompts(int count) {
  std::vector<BenchPrompt> list(static_cast<size_t>(count));
  for (BenchPrompt& prompt : list) {
    prompt.text = "question";
    prompt.num_output_tokens = 4;
  }
  return list;
}

TEST(BenchClient, MeasuresStreamsAndCountsTokensByUsage) {
  std::atomic<bool> request_is_right = true;
  const CannedHttpServer server([&](const std::string& request) {
    const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
    request_is_right = request_is_right && body["prompt"] == "question" &&
                       body["max_tokens"] == 4 && body["stream"] == true &&
                       body["ignore_eos"] == true &&
                       body["stream_options"]["include_usage"] == true;
    return CannedHttpServer::ok(std::string(kStream) + "data: [DONE]\n\n", "text/event-stream");
  });
  const BenchClientResult result = run_bench_client(options_for(server), prompts(5));
  EXPECT_TRUE(request_is_right);
  EXPECT_GT(result.peak_concurrency, 1);
  for (const RequestTiming& timing : result.timings) {
    EXPECT_TRUE(timing.ok) << timing.error;
    EXPECT_EQ(timing.num_prompt_tokens, 11);
    EXPECT_EQ(timing.num_output_tokens, 4);
    EXPECT_EQ(timing.itl_s.size(), 1U);
    EXPECT_GT(timing.ttft_s, 0);
    EXPECT_GE(timing.latency_s, timing.ttft_s);
    EXPECT_LE(timing.latency_s, result.duration_s);
  }
}

TEST(BenchClient, KeepsToTheConcurrencyLimit) {
  const CannedHttpServer server([&](const std::string&) {
    return CannedHttpServer::ok(std::string(kStream) + "data: [DONE]\n\n", "text/event-stream");
  });
  BenchClientOptions options = options_for(server);
  options.max_concurrency = 2;
  const BenchClientResult result = run_bench_client(options, prompts(8));
  EXPECT_LE(result.peak_concurrency, 2);
  EXPECT_EQ(compute_metrics(result.timings, result.duration_s, {}).num_completed, 8);
}

TEST(BenchClient, CountsFailures) {
  const CannedHttpServer refusing([](const std::string&) {
    return std::string(
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n\r\n{\"error\": {\"message\": "
        "\"queue full\"}}");
  });
  EXPECT_THAT(run_bench_client(options_for(refusing), prompts(1)).timings[0].error,
              HasSubstr("queue full"));
  const CannedHttpServer torn([](const std::string&) {
    return CannedHttpServer::ok(kStream, "text/event-stream");  // no [DONE]
  });
  const auto timing = run_bench_client(options_for(torn), prompts(1)).timings[0];
  EXPECT_FALSE(timing.ok);
  EXPECT_THAT(timing.error, HasSubstr("ended early"));
}

TEST(RemoteTextSource, StreamsAnAnswer) {
  const CannedHttpServer server([](const std::string& request) {
    if (request.rfind("GET /v1/models", 0) == 0) {
      const bool has_key = request.find("Authorization: Bearer secret") != std::string::npos;
      return CannedHttpServer::ok(has_key ? R"({"data": [{"id": "first"}]})" : "{}");
    }
    return CannedHttpServer::ok(
        "data: {\"choices\": [{\"delta\": {\"content\": \"Hi \"}}]}\n\n"
        "data: {\"choices\": [{\"delta\": {\"content\": \"you\"}, \"finish_reason\": "
        "\"stop\"}]}\n\n"
        "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 2}}\n\n"
        "data: [DONE]\n\n",
        "text/event-stream");
  });
  const auto source =
      remote_text_source({.url = server.url() + "/v1/", .api_key = "secret", .model_name = ""});
  EXPECT_EQ(source->model_name(), "first");
  std::string text;
  const auto stats = source->chat({{{"role", "user"}, {"content", "hi"}}}, {{"max_tokens", 2}},
                                  {.on_text = [&](std::string_view piece) { text += piece; },
                                   .keep_going = [] { return true; }});
  ASSERT_TRUE(stats);
  EXPECT_EQ(text, "Hi you");
  EXPECT_EQ(stats->finish_reason, "stop");
  EXPECT_EQ(stats->num_output_tokens, 2);
  EXPECT_THROW(remote_text_source({.url = server.url(), .api_key = "", .model_name = ""}),
               LoadError);
}

TEST(HttpClient, ReportsServersThatAreNotThere) {
  const HttpResult result = HttpClient::fetch({.url = "http://127.0.0.1:1/"});
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status, 0);
  EXPECT_FALSE(result.message().empty());
}

TEST(ServerRoot, TakesAddressesAsPeopleWriteThem) {
  for (const char* url :
       {"http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/", "h:8000"}) {
    EXPECT_EQ(server_root(url), "http://h:8000") << url;
  }
}

}  // namespace
}  // namespace quire
