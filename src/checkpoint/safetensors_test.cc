#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::string& bytes) {
  return load_error_of([&] { parse_safetensors_string(bytes); });
}
std::string error_of(const std::string& header, const std::string& data) {
  return error_of(safetensors_bytes(header, data));
}

const std::string kGood = R"({"__metadata__":{"format":"pt"},
  "a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
  "b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},
  "empty":{"dtype":"F16","shape":[0,5],"data_offsets":[8,8]}})";

TEST(Safetensors, ReadsEntriesOfEveryKind) {
  const SafetensorsEntries entries =
      parse_safetensors_string(safetensors_bytes(kGood, std::string(14, 'x')));
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries.at("a").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(entries.at("b").dtype, "BF16");
  EXPECT_EQ(entries.at("b").offset - entries.at("a").offset, 8);
  EXPECT_EQ(entries.at("empty").num_bytes, 0);
}

TEST(Safetensors, ViewsTheMappedBytes) {
  const TempDir directory;
  const float values[2] = {1.5F, -2.0F};
  const std::string data(reinterpret_cast<const char*>(values), sizeof(values));
  const SafetensorsFile file(
      directory.write("x.safetensors", safetensors_bytes({{"a", {"F32", {2}, data}}})));
  const TensorView view = file.view("a");
  EXPECT_EQ(view.shape, Shape{2});
  EXPECT_EQ(std::memcmp(view.data, values, sizeof(values)), 0);
  file.release(view);
  EXPECT_EQ(std::memcmp(view.data, values, sizeof(values)), 0);
  EXPECT_THAT(load_error_of([&] { file.view("c"); }),
              AllOf(HasSubstr("x.safetensors"), HasSubstr("'c'")));
}

TEST(Safetensors, RefusesTypesAndRanksThatAreNoWeights) {
  const TempDir directory;
  const SafetensorsFile file(directory.write(
      "x.safetensors", safetensors_bytes({{"i", {"I64", {1}, std::string(8, '0')}},
                                          {"r", {"F32", {1, 1, 1, 1, 1}, std::string(4, '0')}}})));
  EXPECT_THAT(load_error_of([&] { file.view("i"); }), AllOf(HasSubstr("'i'"), HasSubstr("I64")));
  EXPECT_THAT(load_error_of([&] { file.view("r"); }),
              AllOf(HasSubstr("'r'"), HasSubstr("dimensions")));
}

TEST(Safetensors, NamesAMissingOrEmptyFile) {
  const TempDir directory;
  EXPECT_THAT(load_error_of([&] { SafetensorsFile(directory.path() + "/none.safetensors"); }),
              HasSubstr("none.safetensors"));
  const std::string empty = directory.write("empty.safetensors", "");
  EXPECT_THAT(load_error_of([&] { SafetensorsFile{empty}; }), HasSubstr("empty"));
  EXPECT_THAT(load_error_of([&] { SafetensorsFile{directory.path()}; }),
              HasSubstr("not a regular file"));
}

TEST(Safetensors, RefusesTruncatedFiles) {
  const std::string good = safetensors_bytes(kGood, std::string(14, 'x'));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(error_of(good.substr(0, size)), HasSubstr("test.safetensors")) << size;
  }
}

TEST(Safetensors, RefusesHeadersThatAreTooLargeOrNoJsonObject) {
  EXPECT_THAT(error_of(std::string(8, '\xff') + "{}"), HasSubstr("limit"));
  EXPECT_THAT(error_of("{\"a\":", ""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("[]", ""), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of(std::string(1000, '['), ""), HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of("{\"\xff\":1}", ""), HasSubstr("not valid JSON"));
}

TEST(Safetensors, RefusesMalformedEntriesNamingThem) {
  const auto entry = [](const std::string& body) {
    return error_of("{\"t\":" + body + "}", "12345678");
  };
  EXPECT_THAT(entry("1"), AllOf(HasSubstr("'t'"), HasSubstr("not an object")));
  EXPECT_THAT(entry(R"({"shape":[2],"data_offsets":[0,8]})"), HasSubstr("dtype"));
  EXPECT_THAT(entry(R"({"dtype":"F7","shape":[2],"data_offsets":[0,8]})"), HasSubstr("F7"));
  EXPECT_THAT(entry(R"({"dtype":"F32","data_offsets":[0,8]})"), HasSubstr("shape"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), HasSubstr("shape"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), HasSubstr("shape"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"),
              HasSubstr("data_offsets"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), HasSubstr("outside"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})"),
              HasSubstr("truncated"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
              HasSubstr("needs 12 bytes"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"),
              HasSubstr("overflows"));
  EXPECT_THAT(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})"),
              HasSubstr("data_offsets"));
}

TEST(Safetensors, RefusesOverlapsGapsAndDuplicates) {
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  EXPECT_THAT(
      error_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", "123456"),
      AllOf(HasSubstr("'b'"), HasSubstr("overlaps")));
  EXPECT_THAT(
      error_of("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})", "123456"),
      AllOf(HasSubstr("'b'"), HasSubstr("gap")));
  EXPECT_THAT(error_of("{" + a + "}", "123456"), HasSubstr("2 bytes belong to no tensor"));
  EXPECT_THAT(error_of("{" + a + "," + a + "}", "1234"), HasSubstr("'a' appears twice"));
  EXPECT_THAT(
      error_of(R"({"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})", "1234"),
      HasSubstr("'dtype' appears twice"));
}

// Whatever the bytes, parsing ends in entries that lie within the file, or in a LoadError.
TEST(Safetensors, SurvivesMutatedFiles) {
  const std::string good = safetensors_bytes(kGood, std::string(14, 'x'));
  const std::string alphabet = "{}[]\",:0123456789-.eFBU\\\xff\x00 ";
  std::mt19937 random(20240811);
  int num_errors = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = good;
    const auto num_changes = 1 + random() % 4;
    for (uint32_t i = 0; i < num_changes; ++i) {
      const size_t at = random() % bytes.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0:
          bytes.erase(at, 1 + random() % 3);
          break;
        case 1:
          bytes.insert(at, 1, c);
          break;
        case 2:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 12));
          break;
        default:
          bytes[at] = c;
      }
      if (bytes.empty()) bytes = "x";
    }
    try {
      for (const auto& [name, entry] : parse_safetensors_string(bytes)) {
        ASSERT_GE(entry.offset, 8) << round;
        ASSERT_LE(entry.offset + entry.num_bytes, static_cast<int64_t>(bytes.size())) << round;
      }
    } catch (const LoadError&) {
      ++num_errors;
    }
  }
  EXPECT_GT(num_errors, 3000);
}

}  // namespace
}  // namespace quire
