// Answers a question, printing the text as it comes.  Usage: stream [MODEL]
#include <quire/llm.h>

#include <exception>
#include <iostream>

int main(int argc, char** argv) try {
  quire::LLM llm({.model = argc > 1 ? argv[1] : "quire-demo"});

  quire::GenerationRequest request;
  request.prompt =
      llm.apply_chat_template({.messages = R"([{"role": "user", "content": "What is 12 + 30?"}])"});
  request.add_special_tokens = false;  // the template has put them in
  request.params.temperature = 0.0F;
  request.params.max_tokens = 60;

  quire::RequestStream stream = llm.stream(request);
  while (const auto output = stream.next()) {
    std::cout << output->outputs[0].text << std::flush;
  }
  std::cout << "\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
