// Adapters as clients meet them: the model field, /v1/models, loading and unloading, limits and
// metrics.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/sse.h"
#include "server/test_client.h"
#include "server/test_server.h"
#include "support/random_adapter.h"

namespace quire {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

RandomAdapter make_adapter(unsigned seed) {
  return {FakeEngine::lora_targets(), {.seed = seed, .rank = 2, .modules = {"q_proj"}}};
}

// Completes a prompt with the model; greedy.
std::string completion(const std::string& model, int max_tokens = 30) {
  return json{{"model", model},
              {"prompt", "x"},
              {"max_tokens", max_tokens},
              {"temperature", 0},
              {"ignore_eos", true}}
      .dump();
}

class AdaptersTest : public testing::Test {
 protected:
  FakeEngineOptions options() const {
    FakeEngineOptions options;
    options.enable_lora = true;
    return options;
  }
  static ServerConfig runtime_config() {
    ServerConfig config;
    config.enable_runtime_lora = true;
    return config;
  }
  static void add(TestServer& server, const std::string& name, const std::string& path) {
    const auto added = server.engine().adapters()->add({.lora_name = name, .lora_path = path});
    ASSERT_TRUE(added) << added.error().message;
  }
  static std::string text_of(TestServer& server, const std::string& model) {
    const ClientResponse response =
        TestClient(server.port()).post("/v1/completions", completion(model));
    EXPECT_EQ(response.status, 200) << response.body;
    const json body = json::parse(response.body);
    EXPECT_EQ(body["model"], model);
    return body["choices"][0]["text"];
  }
  static ClientResponse load(TestServer& server, const json& body, const std::string& key = "") {
    const std::string headers = key.empty() ? "" : "Authorization: Bearer " + key + "\r\n";
    return TestClient(server.port()).post("/v1/load_lora_adapter", body.dump(), headers);
  }
  static ClientResponse unload(TestServer& server, const json& body) {
    return TestClient(server.port()).post("/v1/unload_lora_adapter", body.dump());
  }
  static std::string metrics_of(TestServer& server) {
    return TestClient(server.port()).get("/metrics").body;
  }

  RandomAdapter a_ = make_adapter(1);
  RandomAdapter b_ = make_adapter(2);
};

TEST_F(AdaptersTest, TheModelFieldChooses) {
  TestServer server(options());
  add(server, "a", a_.path());
  add(server, "b", b_.path());
  const std::string base = text_of(server, "fake");
  EXPECT_EQ(text_of(server, "org/alias"), base);
  EXPECT_NE(text_of(server, "a"), base);
  EXPECT_NE(text_of(server, "b"), base);
  EXPECT_NE(text_of(server, "a"), text_of(server, "b"));

  TestClient client(server.port());
  const ClientResponse unknown = client.post("/v1/completions", completion("c"));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(json::parse(unknown.body)["error"]["code"], "model_not_found");
  EXPECT_EQ(client.post("/tokenize", R"({"prompt":"x","model":"a"})").status, 200);
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":[65],"model":"b"})").status, 200);
  EXPECT_EQ(client.post("/tokenize", R"({"prompt":"x","model":"c"})").status, 404);
}

TEST_F(AdaptersTest, ChatsAndStreamsNameTheAdapter) {
  TestServer server(options());
  add(server, "a", a_.path());
  TestClient client(server.port());
  const json chat = json::parse(client
                                    .post("/v1/chat/completions", R"({"model":"a","max_tokens":5,
                                          "messages":[{"role":"user","content":"x"}]})")
                                    .body);
  EXPECT_EQ(chat["model"], "a");
  json body = json::parse(completion("a"));
  body["stream"] = true;
  std::string text;
  for (const json& event : parse_events(client.post("/v1/completions", body.dump()).body)) {
    EXPECT_EQ(event["model"], "a");
    text += event["choices"][0]["text"];
  }
  EXPECT_EQ(text, text_of(server, "a"));
}

TEST_F(AdaptersTest, WithoutAdaptersNothingChanges) {
  TestServer server;
  EXPECT_EQ(TestClient(server.port()).post("/v1/completions", completion("a")).status, 404);
  EXPECT_EQ(metrics_of(server).find("lora"), std::string::npos);
  const ClientResponse refused = load(server, {{"lora_name", "a"}, {"lora_path", a_.path()}});
  EXPECT_EQ(refused.status, 404);
  EXPECT_NE(refused.body.find("--enable-runtime-lora"), std::string::npos);
}

TEST_F(AdaptersTest, AreListedWithTheirParents) {
  ServerConfig config;
  config.adapter_parents = {{"b", "org/alias"}};
  TestServer server(options(), config);
  add(server, "a", a_.path());
  add(server, "b", b_.path());
  TestClient client(server.port());
  const json list = json::parse(client.get("/v1/models").body)["data"];
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0]["parent"], nullptr);
  EXPECT_EQ(list[2]["id"], "a");
  EXPECT_EQ(list[2]["root"], a_.path());
  EXPECT_EQ(list[2]["parent"], "fake");
  EXPECT_EQ(list[3]["parent"], "org/alias");
  EXPECT_EQ(json::parse(client.get("/v1/models/a").body), list[2]);
  EXPECT_EQ(client.get("/v1/models/c").status, 404);
}

TEST_F(AdaptersTest, OfAFolderAreReadWhenTheyAreNamed) {
  const TempDir folder;
  fs::create_directory_symlink(a_.path(), folder.path() + "/found");
  fs::create_directory(folder.path() + "/empty");
  FakeEngineOptions with_folder = options();
  with_folder.lora_dir = folder.path();
  TestServer server(with_folder);
  add(server, "a", a_.path());
  TestClient client(server.port());
  const json list = json::parse(client.get("/v1/models").body)["data"];
  ASSERT_EQ(list.size(), 4U) << list;
  EXPECT_EQ(list[3]["id"], "found");
  EXPECT_EQ(json::parse(client.get("/v1/models/found").body), list[3]);
  EXPECT_EQ(client.post("/tokenize", R"({"prompt":"x","model":"found"})").status, 200);
  EXPECT_EQ(text_of(server, "found"), text_of(server, "a"));
  const std::string inside = fs::path(folder.path()).filename().string() + "/found";
  for (const std::string& name :
       {std::string("../") + inside, folder.path() + "/found", std::string("./found"),
        std::string("found/"), std::string("empty"), std::string("..")}) {
    EXPECT_EQ(client.post("/v1/completions", completion(name)).status, 404) << name;
  }
}

TEST_F(AdaptersTest, ABrokenOneCostsItsOwnRequestsOnly) {
  const TempDir folder;
  fs::create_directory(folder.path() + "/broken");
  std::ofstream(folder.path() + "/broken/adapter_config.json") << "{";
  FakeEngineOptions with_folder = options();
  with_folder.lora_dir = folder.path();
  TestServer server(with_folder);
  const ClientResponse refused =
      TestClient(server.port()).post("/v1/completions", completion("broken"));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(json::parse(refused.body)["error"]["param"], "model");
  text_of(server, "fake");
}

TEST_F(AdaptersTest, AreLoadedAndUnloadedWithVllmsAnswers) {
  TestServer server(options(), runtime_config());
  const ClientResponse added = load(server, {{"lora_name", "x"}, {"lora_path", a_.path()}});
  EXPECT_EQ(added.status, 200);
  EXPECT_EQ(added.body, "Success: LoRA adapter 'x' added successfully.");
  const std::string with_a = text_of(server, "x");
  const ClientResponse again = load(server, {{"lora_name", "x"}, {"lora_path", a_.path()}});
  EXPECT_EQ(again.status, 400);
  const json error = json::parse(again.body)["error"];
  EXPECT_EQ(error["type"], "InvalidUserInput");
  EXPECT_EQ(error["message"],
            "The lora adapter 'x' has already been loaded. If you want to load the adapter in "
            "place, set 'load_inplace' to True.");
  EXPECT_EQ(
      load(server, {{"lora_name", "x"}, {"lora_path", b_.path()}, {"load_inplace", true}}).status,
      200);
  EXPECT_NE(text_of(server, "x"), with_a);

  const ClientResponse removed = unload(server, {{"lora_name", "x"}, {"lora_int_id", 1}});
  EXPECT_EQ(removed.status, 200);
  EXPECT_EQ(removed.body, "Success: LoRA adapter 'x' removed successfully.");
  EXPECT_EQ(TestClient(server.port()).post("/v1/completions", completion("x")).status, 404);
  const ClientResponse gone = unload(server, {{"lora_name", "x"}});
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(json::parse(gone.body)["error"]["type"], "NotFoundError");
  EXPECT_EQ(json::parse(gone.body)["error"]["message"], "The lora adapter 'x' cannot be found.");
}

TEST_F(AdaptersTest, BadLoadsAreRefused) {
  const TempDir folder;
  fs::create_directory_symlink(a_.path(), folder.path() + "/inside");
  FakeEngineOptions with_folder = options();
  with_folder.lora_dir = folder.path();
  TestServer server(with_folder, runtime_config());
  const auto status_of = [&](const json& body) { return load(server, body).status; };
  EXPECT_EQ(status_of({{"lora_name", "x"}}), 400);
  EXPECT_EQ(status_of({{"lora_path", a_.path()}}), 400);
  EXPECT_EQ(status_of({{"lora_name", 3}, {"lora_path", a_.path()}}), 400);
  EXPECT_EQ(status_of({{"lora_name", "fake"}, {"lora_path", a_.path()}}), 400);
  EXPECT_EQ(status_of({{"lora_name", "a\nb"}, {"lora_path", a_.path()}}), 400);
  EXPECT_EQ(status_of({{"lora_name", "x"}, {"lora_path", "/nowhere/at/all"}}), 404);
  EXPECT_EQ(status_of({{"lora_name", "x"}, {"lora_path", folder.path()}}), 400);
  EXPECT_EQ(status_of({{"lora_name", "x"}, {"lora_path", "inside/../../x"}}), 400);
  EXPECT_EQ(status_of({{"lora_name", "x"}, {"lora_path", a_.path() + "/adapter_config.json"}}),
            404);
  EXPECT_EQ(unload(server, json::object()).status, 400);
  EXPECT_EQ(status_of({{"lora_name", "x"}, {"lora_path", "inside"}}), 200);
}

TEST_F(AdaptersTest, LoadingNeedsTheKeyOfAdministrators) {
  const json body = {{"lora_name", "x"}, {"lora_path", a_.path()}, {"load_inplace", true}};
  ServerConfig config = runtime_config();
  {
    TestServer open(options(), config);
    EXPECT_EQ(load(open, body).status, 200);
  }
  config.api_keys = {"client"};
  {
    TestServer one_kind(options(), config);
    EXPECT_EQ(load(one_kind, body).status, 401);
    EXPECT_EQ(load(one_kind, body, "client").status, 200);
  }
  config.admin_api_keys = {"admin"};
  {
    TestServer two_kinds(options(), config);
    EXPECT_EQ(load(two_kinds, body).status, 401);
    EXPECT_EQ(load(two_kinds, body, "client").status, 401);
    EXPECT_EQ(load(two_kinds, body, "admin").status, 200);
    TestClient client(two_kinds.port());
    EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer client\r\n").status, 200);
    EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer admin\r\n").status, 200);
    EXPECT_EQ(client.get("/v1/models").status, 401);
  }
  config.api_keys.clear();
  TestServer admin_only(options(), config);
  EXPECT_EQ(load(admin_only, body).status, 401);
  EXPECT_EQ(TestClient(admin_only.port()).get("/v1/models").status, 200);
}

TEST_F(AdaptersTest, InfoTellsRunningFromWaiting) {
  FakeEngineOptions slow = options();
  slow.step_time = milliseconds(5);
  slow.max_num_seqs = 1;
  TestServer server(slow);
  add(server, "a", a_.path());
  add(server, "b", b_.path());
  const auto wait_for_info = [&](const std::string& labels) {
    std::string text;
    for (int i = 0; i < 2000; ++i) {
      text = metrics_of(server);
      if (text.find("vllm:lora_requests_info{max_lora=\"1\"," + labels + "} ") !=
          std::string::npos) {
        return std::string();
      }
      std::this_thread::sleep_for(milliseconds(2));
    }
    return text;
  };
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="",waiting_lora_adapters="")"), "");
  TestClient first(server.port());
  TestClient second(server.port());
  TestClient third(server.port());
  first.send(http_post("/v1/completions", completion("a", 4000)));
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="a",waiting_lora_adapters="")"), "");
  second.send(http_post("/v1/completions", completion("b", 4000)));
  third.send(http_post("/v1/completions", completion("a", 4000)));
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="a",waiting_lora_adapters="a,b")"), "");
  third.close();
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="a",waiting_lora_adapters="b")"), "");
  first.close();
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="b",waiting_lora_adapters="")"), "");
  second.close();
  EXPECT_EQ(wait_for_info(R"(running_lora_adapters="",waiting_lora_adapters="")"), "");
}

TEST_F(AdaptersTest, AreCountedByName) {
  TestServer server(options(), runtime_config());
  const std::string name = R"(a "b" \c)";
  add(server, name, a_.path());
  EXPECT_EQ(text_of(server, name), text_of(server, name));
  text_of(server, "fake");
  const std::string labels = R"({engine="0",lora_name="a \"b\" \\c",model_name="fake"} )";
  const std::string text = metrics_of(server);
  for (const std::string& line :
       {"quire:lora_requests_total" + labels + "2", "quire:lora_prompt_tokens_total" + labels + "4",
        "quire:lora_generation_tokens_total" + labels + "60",
        "quire:lora_time_to_first_token_seconds_count" + labels + "2",
        std::string(R"(quire:lora_registered_adapters{engine="0",model_name="fake"} 1)"),
        std::string(R"(quire:kv_arena_bytes{engine="0",model_name="fake",owner="adapters"} 0)")}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
  unload(server, {{"lora_name", name}});
  EXPECT_EQ(metrics_of(server).find(labels), std::string::npos);
}

TEST_F(AdaptersTest, OneCannotTakeMoreThanItsShare) {
  ServerConfig config;
  config.max_requests_per_adapter = 2;
  FakeEngineOptions slow = options();
  slow.step_time = milliseconds(2);
  TestServer server(slow, config);
  add(server, "a", a_.path());
  add(server, "b", b_.path());
  server.engine().set_paused(true);
  TestClient first(server.port());
  TestClient second(server.port());
  first.send(http_post("/v1/completions", completion("a")));
  second.send(http_post("/v1/completions", completion("a")));
  TestClient client(server.port());
  while (server.engine().stats().num_in_flight_requests < 2)
    std::this_thread::sleep_for(milliseconds(1));
  const ClientResponse refused = client.post("/v1/completions", completion("a"));
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.body.find("'a'"), std::string::npos);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  json many = json::parse(completion("b"));
  many["n"] = 3;
  many["temperature"] = 1;
  EXPECT_EQ(client.post("/v1/completions", many.dump()).status, 400);
  server.engine().set_paused(false);
  EXPECT_EQ(client.post("/v1/completions", completion("b")).status, 200);
  EXPECT_EQ(client.post("/v1/completions", completion("fake")).status, 200);
  EXPECT_EQ(first.receive().status, 200);
  EXPECT_EQ(second.receive().status, 200);
  EXPECT_EQ(client.post("/v1/completions", completion("a")).status, 200);
}

// What is prepared for adapters that are to be read first takes no thread from the others.
TEST_F(AdaptersTest, ReadingHoldsUpOnlyWhoNeedsIt) {
  const TempDir folder;
  for (const char* name : {"c1", "c2", "c3"}) {
    fs::create_directory_symlink(a_.path(), folder.path() + "/" + name);
  }
  FakeEngineOptions with_folder = options();
  with_folder.lora_dir = folder.path();
  ServerConfig config;
  config.num_worker_threads = 2;
  config.num_adapter_threads = 2;
  TestServer server(with_folder, config);
  add(server, "b", b_.path());
  const auto gated = [](const char* model) {
    return json{{"model", model}, {"prompt", GatedTokenizer::kGate}}.dump();
  };
  TestClient first(server.port());
  TestClient second(server.port());
  TestClient third(server.port());
  first.send(http_post("/v1/completions", gated("c1")));
  second.send(http_post("/v1/completions", gated("c2")));
  server.tokenizer().wait_for_waiting(2);
  third.send(http_post("/v1/completions", gated("c3")));
  for (int i = 0; i < 5; ++i) {
    text_of(server, "fake");
    text_of(server, "b");
  }
  EXPECT_EQ(TestClient(server.port()).get("/v1/models").status, 200);
  EXPECT_FALSE(server.engine().adapters()->info("c3")->in_host_memory);
  server.tokenizer().open_gate();
  for (TestClient* client : {&first, &second, &third}) EXPECT_EQ(client->receive().status, 200);
}

}  // namespace
}  // namespace quire
