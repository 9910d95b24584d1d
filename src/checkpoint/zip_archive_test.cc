#include "checkpoint/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "support/safetensors_bytes.h"
#include "support/zip_bytes.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<ZipContent> kFiles = {
    {"a/one", "first"}, {"a/two", std::string(5000, 'x')}, {"a/none", ""}};

ZipEntries parse(const std::string& bytes) {
  return parse_zip("test.zip", std::as_bytes(std::span(bytes)));
}
std::string error_of(const std::string& bytes) {
  return load_error_of([&] { parse(bytes); });
}
std::string content_of(const ZipEntry& entry) {
  if (!entry.deflated) {
    return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()};
  }
  const Buffer content = inflate_entry("here: ", entry);
  return {reinterpret_cast<const char*>(content.data()), static_cast<size_t>(entry.num_bytes)};
}
// `bytes` with those at `offset` replaced by `text`.
std::string with(std::string bytes, size_t offset, const std::string& text) {
  return bytes.replace(offset, text.size(), text);
}

TEST(ZipArchive, ReadsStoredAndDeflatedEntriesWithAndWithoutZip64) {
  for (const bool deflated : {false, true}) {
    for (const int zip64 : {0, 1, 2}) {
      const std::string bytes =
          zip_bytes(kFiles, {.deflated = deflated,
                             .zip64 = zip64 > 0,
                             .zip64_sizes = zip64 > 1,
                             .padding = 7,
                             .comment = "PK\5\6, which begins no end record"});
      const ZipEntries entries = parse(bytes);
      ASSERT_EQ(entries.size(), 3U);
      EXPECT_EQ(content_of(entries.at("a/one")), "first");
      EXPECT_EQ(content_of(entries.at("a/two")), kFiles[1].content);
      EXPECT_EQ(entries.at("a/two").deflated, deflated);
      EXPECT_EQ(entries.at("a/none").num_bytes, 0U);
    }
  }
}

TEST(ZipArchive, ViewsStoredEntriesInPlace) {
  const std::string bytes = zip_bytes(kFiles);
  const auto data = parse(bytes).at("a/one").data;
  EXPECT_EQ(reinterpret_cast<const char*>(data.data()), bytes.data() + bytes.find("first"));
}

TEST(ZipArchive, RefusesTruncatedArchives) {
  for (const bool zip64 : {false, true}) {
    const std::string good = zip_bytes(kFiles, {.zip64 = zip64});
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_THAT(error_of(good.substr(0, size)), HasSubstr("test.zip: ")) << size;
    }
  }
}

TEST(ZipArchive, NamesWhatIsWrongWithAnEntry) {
  const std::string good = zip_bytes({{"name", "content"}});
  const size_t header = good.find("PK\1\2");
  EXPECT_THAT(error_of(with(good, header + 8, "\x01")),
              AllOf(HasSubstr("'name'"), HasSubstr("encrypted")));
  EXPECT_THAT(error_of(with(good, header + 10, "\x0e")), HasSubstr("method 14"));
  EXPECT_THAT(error_of(with(good, header + 24, "\x08")), HasSubstr("impossible size"));
  EXPECT_THAT(error_of(with(good, header + 42, "\x01")), HasSubstr("no local header"));
  EXPECT_THAT(error_of(with(good, header + 42, "\xf0\xff")), HasSubstr("outside the file"));
  EXPECT_THAT(error_of(with(good, 28, "\xff\xff")), HasSubstr("outside the file"));
  EXPECT_THAT(error_of(with(with(good, header + 20, "\x60"), header + 24, "\x60")),
              HasSubstr("the 96 that follow lie outside the file"));
  EXPECT_THAT(error_of(with(good, header + 32, "\xff")), HasSubstr("ends within entry 0"));
  EXPECT_THAT(error_of(with(good, header, "X")), HasSubstr("ends at entry 0"));
  EXPECT_THAT(error_of(zip_bytes({{"name", "a"}, {"name", "b"}})),
              AllOf(HasSubstr("'name'"), HasSubstr("twice")));
}

TEST(ZipArchive, RefusesDamagedDeflatedData) {
  const std::string good = zip_bytes(kFiles, {.deflated = true});
  const auto inflate_error = [](const std::string& bytes) {
    return load_error_of([&] { inflate_entry("here: ", parse(bytes).at("a/two")); });
  };
  const size_t header = good.find("PK\1\2", good.find("PK\1\2") + 1);  // of a/two
  EXPECT_EQ(inflate_error(good), "");
  EXPECT_THAT(inflate_error(with(good, header + 16, "\x01")), HasSubstr("here: "));   // CRC-32
  EXPECT_THAT(inflate_error(with(good, header + 24, "\x01")), HasSubstr("damaged"));  // shorter
  EXPECT_THAT(inflate_error(with(good, header + 25, "\x20")), HasSubstr("damaged"));  // longer
  EXPECT_THAT(error_of(with(good, header + 26, "\xff")), HasSubstr("impossible size"));
}

}  // namespace
}  // namespace quire
