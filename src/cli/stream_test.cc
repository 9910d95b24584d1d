#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/openai_stream.h"
#include "cli/sse_parser.h"

namespace quire {
namespace {

constexpr std::string_view kBytes =
    ": comment\n\ndata: one\n\nevent: x\ndata:two\ndata: lines\r\n\r\nid: 4\rdata: three\r\rdata: "
    "torn";

TEST(SseParser, GivesTheSameEventsHoweverTheBytesAreCut) {
  const std::vector<std::string> expected = {"one", "two\nlines", "three"};
  for (size_t cut = 0; cut <= kBytes.size(); ++cut) {
    SseParser parser;
    std::vector<std::string> events;
    const auto take = [&](std::string_view data) {
      events.emplace_back(data);
      return true;
    };
    parser.feed(kBytes.substr(0, cut), take);
    parser.feed(kBytes.substr(cut), take);
    ASSERT_EQ(events, expected) << "cut at " << cut;
  }
}

TEST(SseParser, EndsWhenAskedTo) {
  SseParser parser;
  int num_events = 0;
  EXPECT_FALSE(
      parser.feed("data: a\n\ndata: b\n\n", [&](std::string_view) { return ++num_events < 1; }));
  EXPECT_EQ(num_events, 1);
}

std::vector<StreamChunk> chunks_of(OpenAiStream& stream, std::string_view bytes) {
  std::vector<StreamChunk> chunks;
  stream.feed(bytes, [&](const StreamChunk& chunk) {
    chunks.push_back(chunk);
    return true;
  });
  return chunks;
}

TEST(OpenAiStream, ReadsCompletionsAndUsage) {
  OpenAiStream stream;
  const auto chunks = chunks_of(
      stream,
      "data: {\"choices\": [{\"text\": \"Hi\", \"finish_reason\": null}], \"usage\": null}\n\n"
      "data: {\"choices\": [{\"text\": \"\", \"finish_reason\": \"stop\"}]}\n\n"
      "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2}}\n\n"
      "data: [DONE]\n\n");
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[0].text, "Hi");
  EXPECT_EQ(chunks[1].finish_reason, "stop");
  EXPECT_FALSE(chunks[2].has_choice);
  EXPECT_EQ(chunks[2].num_prompt_tokens, 3);
  EXPECT_EQ(chunks[2].num_completion_tokens, 2);
  EXPECT_TRUE(stream.done());
}

TEST(OpenAiStream, ReadsChatDeltas) {
  OpenAiStream stream;
  const auto chunks = chunks_of(
      stream,
      "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": null}}]}\n\n"
      "data: {\"choices\": [{\"delta\": {\"content\": \"Hello\"}}]}\n\n");
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks[0].text, "");
  EXPECT_EQ(chunks[1].text, "Hello");
  EXPECT_FALSE(stream.done());
}

TEST(OpenAiStream, ReportsErrorsAndGarbage) {
  OpenAiStream failed;
  EXPECT_TRUE(chunks_of(failed, "data: {\"error\": {\"message\": \"no memory\"}}\n\n").empty());
  EXPECT_EQ(failed.error(), "no memory");
  OpenAiStream garbage;
  EXPECT_TRUE(chunks_of(garbage, "data: <html>\n\n").empty());
  EXPECT_THAT(garbage.error(), testing::HasSubstr("not a JSON object"));
}

}  // namespace
}  // namespace quire
