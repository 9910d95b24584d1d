// The HTTP server: OpenAI's API over an EngineClient.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_client.h"
#include "quire/sampling_params.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire {

struct ServerConfig {
  std::string host = "127.0.0.1";               // the CLI's default; 0.0.0.0 for all interfaces
  uint16_t port = 8000;                         // 0 = any free one (see Server::port)
  std::vector<std::string> api_keys;            // empty = open; guards /v1
  std::vector<std::string> admin_api_keys;      // for loading adapters; empty = api_keys guard it
  std::vector<std::string> served_model_names;  // the first is reported; not empty
  std::string chat_template;                    // Jinja source; empty = none
  int io_threads = 1;                           // HTTP parsing and detokenisation
  int num_worker_threads = 2;                   // JSON parsing, chat templates and tokenisation
  int num_adapter_threads = 2;                  // reading adapters
  int64_t max_body_bytes = 32 << 20;
  int max_header_bytes = 16 << 10;
  int max_connections = 4096;
  double request_timeout_s = 30.0;  // reading one request's header and body
  double keep_alive_timeout_s = 75.0;
  int64_t max_pending_output_bytes =
      1 << 20;  // unsent bytes of one stream before its request is aborted
  int64_t max_queued_result_bytes =
      64 << 20;  // of results waiting for one I/O thread; beyond it sequences are given up with 503
  double write_stall_timeout_s = 30.0;  // a client that takes no byte for so long is cut
  double shutdown_timeout_s = 30.0;     // draining after SIGTERM
  bool stop_on_engine_failure = false;  // drain and return from run() when the engine has failed
  int max_queued_preparations =
      1024;  // requests waiting for a worker thread beyond which the answer is 429
  int max_sequences_per_request = 1024;  // prompts times n
  int64_t max_buffered_body_bytes =
      512 << 20;  // of all request bodies held; beyond it the answer is 503
  // Clients may load and unload adapters.  They are trusted: they name directories of this machine.
  bool enable_runtime_lora = false;
  int max_requests_per_adapter =
      0;  // sequences of one adapter at once; beyond it 429; 0 = no limit
  // The served base name that an adapter belongs to; the first one for those not in it.
  std::map<std::string, std::string> adapter_parents = {};
  bool enable_prompt_tokens_details = true;
  bool enable_request_id_headers = true;
  bool return_tokens_as_token_ids = false;
  bool enable_force_include_usage = false;
  SamplingLimits limits;
  // Server-side defaults of sampling fields (from generation_config.json); used where a request is
  // silent.
  SamplingParams default_params;
  std::string response_role = "assistant";
  bool trust_request_chat_template = false;  // accept chat_template in requests
  std::function<void(const std::string&)>
      log_error;  // internal errors, one line each, any thread; may be empty
  // One line per answered API request: id, method, route, status, time and token counts, but no
  // text and no keys.  Called on an I/O thread; may be empty.
  std::function<void(const std::string&)> log_request;
};

// What the server needs of the model's text side; outlives the server.
struct TextModel {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null = chat requests are refused with a reason
  ChatTemplateConfig chat_config;               // bos_token etc. for the template
};

// An address that is bound, where nobody is answered yet: so that a server learns before it loads
// its model whether another one listens there.
class BoundAddress {
 public:
  // Throws LoadError if the address is taken or unknown.
  BoundAddress(const std::string& host, uint16_t port);
  BoundAddress(BoundAddress&& other) noexcept;
  BoundAddress& operator=(BoundAddress&&) = delete;
  ~BoundAddress();

 private:
  friend class Server;
  class Acceptor;
  std::unique_ptr<Acceptor> acceptor_;
};

class Server {
 public:
  // Listens at once, at `address` or else at the one in `config`, which it binds.  Throws LoadError
  // if it is taken.
  Server(const ServerConfig& config, EngineClient& engine, const TextModel& text,
         BoundAddress address);
  Server(const ServerConfig& config, EngineClient& engine, const TextModel& text)
      : Server(config, engine, text, BoundAddress(config.host, config.port)) {}
  ~Server();
  uint16_t port() const;
  // Serves until stop(), or the engine's failure if so configured; returns after draining.  The
  // caller's thread is one of the I/O threads.
  void run();
  // Async-signal-unsafe, any thread: refuse new API requests with 503, finish or time out what
  // runs, then return from run().  Probes and /metrics are answered meanwhile.  The second call
  // ends what runs at once.
  void stop();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
