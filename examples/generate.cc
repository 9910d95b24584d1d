// Continues some prompts in one batch.  Usage: generate [MODEL]
#include <quire/llm.h>

#include <exception>
#include <iostream>

int main(int argc, char** argv) try {
  quire::LLM llm({.model = argc > 1 ? argv[1] : "quire-demo"});

  quire::SamplingParams params;
  params.temperature = 0.7F;
  params.max_tokens = 24;
  params.seed = 42;

  for (const auto& output : llm.generate({"The sea was", "Once upon a time"}, params)) {
    std::cout << output.prompt << " |" << output.outputs[0].text << "\n";
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
