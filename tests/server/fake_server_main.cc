// The server over a FakeEngine, for the tests that use OpenAI's Python client:
//   fake_server PORT [API_KEY]
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "server/byte_tokenizer.h"
#include "server/fake_engine.h"
#include "server/server.h"

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  quire::FakeEngine engine({});
  const quire::ByteTokenizer tokenizer;
  const quire::ChatTemplate chat_template(quire::kByteChatTemplate);
  quire::ServerConfig config;
  config.port = static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 8000);
  if (argc > 2) config.api_keys = {argv[2]};
  config.served_model_names = {"fake"};
  const quire::TextModel text{.tokenizer = &tokenizer,
                              .chat_template = &chat_template,
                              .chat_config = {.source = quire::kByteChatTemplate,
                                              .bos_token = "<bos>",
                                              .eos_token = "<eos>",
                                              .pad_token = {},
                                              .unk_token = {}}};
  quire::Server server(config, engine, text);
  std::printf("listening on %u\n", server.port());
  std::fflush(stdout);
  std::thread waiter([&] {
    for (int signal = 0; sigwait(&signals, &signal) == 0;) {
      server.stop();
      if (signal == SIGINT) return;
    }
  });
  server.run();
  pthread_kill(waiter.native_handle(), SIGINT);
  waiter.join();
  return 0;
}
