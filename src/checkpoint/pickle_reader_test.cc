#include "checkpoint/pickle_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/pickle_bytes.h"
#include "support/safetensors_bytes.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::map<std::string, PickledTensor> read(const std::string& bytes) {
  return read_pickled_tensors("file: ", std::as_bytes(std::span(bytes)));
}
std::string error_of(const std::string& bytes) {
  return load_error_of([&] { read(bytes); });
}
// Of a dictionary whose only value is this.
std::string error_of_value(const std::string& value) {
  return error_of(pickled::dictionary({{"t", value}}));
}
const std::string kTensor =
    pickled::tensor({.key = "7", .elements = 10, .offset = 4, .sizes = {2, 3}, .strides = {3, 1}});

TEST(PickleReader, DescribesTensors) {
  const auto tensors = read(pickled::dictionary({{"a", kTensor}, {"b", kTensor}}));
  ASSERT_EQ(tensors.size(), 2U);
  const PickledTensor& tensor = tensors.at("a");
  EXPECT_EQ(tensor.storage_type, "torch.FloatStorage");
  EXPECT_EQ(tensor.storage_key, "7");
  EXPECT_EQ(tensor.storage_elements, 10);
  EXPECT_EQ(tensor.offset, 4);
  EXPECT_THAT(tensor.sizes, ElementsAre(2, 3));
  EXPECT_THAT(tensor.strides, ElementsAre(3, 1));
}

TEST(PickleReader, UnderstandsParametersAttributesAndTheMemo) {
  const std::string parameter = pickled::call(pickled::global("torch._utils", "_rebuild_parameter"),
                                              {kTensor + "q\x05", "\x88", pickled::ordered_dict()});
  // An ordered dictionary; its second value is the memo's tensor; it has an attribute.
  const std::string bytes = "\x80\x02" + pickled::ordered_dict() + pickled::text("a") + parameter +
                            "s(" + pickled::text("b") + "h\x05u}" + pickled::text("_metadata") +
                            "Nsb.";
  const auto tensors = read(bytes);
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors.at("b").storage_key, "7");
}

TEST(PickleReader, ReadsIntegersOfEverySize) {
  const auto offset_of = [](const std::string& number) {
    const std::string tensor = pickled::call(
        pickled::global("torch._utils", "_rebuild_tensor_v2"),
        {pickled::tuple({pickled::text("storage"), pickled::global("torch", "HalfStorage"),
                         pickled::text("0"), pickled::text("cpu"), "K\x09"}) +
             "Q",
         number, ")", ")", "\x89", "N"});
    return read(pickled::dictionary({{"t", tensor}})).at("t").offset;
  };
  EXPECT_EQ(offset_of("K\xff"), 255);
  EXPECT_EQ(offset_of("M\x01\x02"), 513);
  EXPECT_EQ(offset_of("J\xfe\xff\xff\xff"), -2);
  EXPECT_EQ(offset_of(std::string("\x8a\x00", 2)), 0);
  EXPECT_EQ(offset_of("\x8a\x01\xff"), -1);
  EXPECT_EQ(offset_of(std::string("\x8a\x05\x00\x00\x00\x00\x01", 7)), int64_t{1} << 32);
  EXPECT_EQ(offset_of(pickled::integer(INT64_MIN)), INT64_MIN);
  EXPECT_THAT(load_error_of([&] { offset_of("\x8a\x09" + std::string(9, 'x')); }),
              HasSubstr("more than 64 bits"));
}

std::string error_of_call(const std::string& module, const std::string& name) {
  return error_of_value(
      pickled::call(pickled::global(module, name), {pickled::text("touch /tmp/x")}));
}

TEST(PickleReader, RefusesEveryOtherGlobalByName) {
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"os", "system"},
           {"posix", "system"},
           {"builtins", "eval"},
           {"__builtin__", "exec"},
           {"torch._utils", "_rebuild_tensor_v3"},
           {"torch._utils", "_rebuild_parameter_with_state"},
           {"torch.storage", "UntypedStorage"},
           {"collections", "OrderedDict.fromkeys"}}) {
    const std::string error = error_of_call(module, name);
    EXPECT_THAT(error, AllOf(HasSubstr("file: "), HasSubstr("safetensors")));
    EXPECT_NE(error.find(name), std::string::npos);
  }
  EXPECT_THAT(error_of_call("os", "system"), HasSubstr("the global 'os.system'"));
  EXPECT_THAT(error_of_value(pickled::global(std::string(5000, '\xff'), "x")),
              HasSubstr("'" + std::string(200, '?') + "...'"));
}

TEST(PickleReader, RefusesEveryOtherInstruction) {
  // Among them those that make objects: i (INST), o (OBJ), \x81 (NEWOBJ), \x93 (STACK_GLOBAL).
  const std::string known = "().JKMNQRXbchjqrstu}\x80\x85\x86\x87\x88\x89\x8a";
  for (int opcode = 0; opcode < 256; ++opcode) {
    if (known.find(static_cast<char>(opcode)) != std::string::npos) continue;
    EXPECT_THAT(error_of("\x80\x02}(" + std::string(1, static_cast<char>(opcode))),
                HasSubstr("instruction " + std::to_string(opcode) + " at byte 4"));
  }
}

TEST(PickleReader, RefusesValuesOfTheWrongKind) {
  EXPECT_THAT(error_of_value("N"), AllOf(HasSubstr("None as the value of 't'")));
  EXPECT_THAT(error_of_value("}"), HasSubstr("a dictionary as the value of 't'"));
  EXPECT_THAT(error_of("\x80\x02)."), HasSubstr("a tuple as its result"));
  EXPECT_THAT(error_of("\x80\x02}K\x01" + kTensor + "s."),
              HasSubstr("an integer as a tensor's name"));
  EXPECT_THAT(error_of(pickled::dictionary({{"t", kTensor}, {"t", kTensor}})),
              HasSubstr("two tensors 't'"));
  EXPECT_THAT(error_of_value(pickled::call("N", {})), HasSubstr("None as a function"));
  EXPECT_THAT(error_of_value(pickled::global("collections", "OrderedDict") + "NR"),
              HasSubstr("None as the arguments"));
  EXPECT_THAT(error_of_value(pickled::call(pickled::global("collections", "OrderedDict"), {"N"})),
              HasSubstr("'collections.OrderedDict' with 1 arguments"));
  EXPECT_THAT(error_of_value(pickled::call(pickled::global("torch", "FloatStorage"), {})),
              HasSubstr("calls 'torch.FloatStorage'"));
  EXPECT_THAT(error_of_value("NNb"), HasSubstr("None as what has attributes"));
  EXPECT_THAT(error_of("\x80\x02NNNs."), HasSubstr("None as what items are set of"));
  EXPECT_THAT(error_of_value(pickled::tensor({.sizes = {1, 2}, .strides = {1}})),
              HasSubstr("more sizes than strides"));
  EXPECT_THAT(error_of_value(pickled::tensor({.sizes = std::vector<int64_t>(17, 1)})),
              HasSubstr("more than 16 dimensions"));
}

TEST(PickleReader, RefusesOtherPersistentIds) {
  const auto error_of_id = [](const std::vector<std::string>& items) {
    return error_of_value(pickled::tuple(items) + "Q");
  };
  const std::string storage = pickled::text("storage"), key = pickled::text("0"),
                    type = pickled::global("torch", "FloatStorage");
  EXPECT_THAT(error_of_id({storage, type, key}), HasSubstr("not a storage's"));
  EXPECT_THAT(error_of_id({pickled::text("module"), type, key, key, "K\x01"}),
              HasSubstr("not a storage's"));
  EXPECT_THAT(error_of_id({storage, pickled::global("collections", "OrderedDict"), key, key, "N"}),
              HasSubstr("'collections.OrderedDict' as a storage's type"));
  EXPECT_THAT(error_of_id({storage, type, "N", key, "N"}), HasSubstr("None as a storage's key"));
  EXPECT_THAT(error_of_id({storage, type, pickled::text(std::string(65, '0')), key, "K\x01"}),
              HasSubstr("key of 65 bytes"));
  EXPECT_THAT(error_of_id({storage, type, key, key, key}),
              HasSubstr("a string as a storage's size"));
}

TEST(PickleReader, RefusesBadStacksMarksAndMemos) {
  EXPECT_THAT(error_of("."), HasSubstr("empty stack"));
  EXPECT_THAT(error_of("}N."), HasSubstr("leaves values"));
  EXPECT_THAT(error_of("}u"), HasSubstr("a mark"));
  EXPECT_THAT(error_of("t"), HasSubstr("a mark"));
  EXPECT_THAT(error_of("}(q\x01"), HasSubstr("empty stack"));  // of what the mark began
  EXPECT_THAT(error_of("}(Nu."), HasSubstr("without a value"));
  EXPECT_THAT(error_of("h\x01"), HasSubstr("memo"));
  EXPECT_THAT(error_of("R"), HasSubstr("empty stack"));
}

TEST(PickleReader, RefusesTruncatedPickles) {
  const std::string good = pickled::dictionary({{"a", kTensor}});
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(error_of(good.substr(0, size)), HasSubstr("file: ")) << size;
  }
  EXPECT_THAT(error_of("X\xff\xff\xff\xff"), HasSubstr("truncated"));
}

TEST(PickleReader, SurvivesCyclesAndDepth) {
  // A dictionary that holds itself, and a tuple of a tuple of ...
  EXPECT_THAT(error_of("\x80\x02}q\x01" + pickled::text("t") + "h\x01s."),
              HasSubstr("a dictionary as the value of 't'"));
  EXPECT_THAT(
      error_of("\x80\x02}" + pickled::text("t") + "N" + std::string(1'000'000, '\x85') + "s."),
      HasSubstr("a tuple as the value of 't'"));
}

TEST(PickleReader, LimitsItsMemory) {
  EXPECT_THAT(error_of(std::string(2'100'000, 'N')), HasSubstr("more than 2000000 values"));
  std::string gets = "Nq\x01";
  for (int i = 0; i < 2'100'000; ++i) gets += "h\x01";
  EXPECT_THAT(error_of(gets), HasSubstr("too many values"));
  EXPECT_THAT(error_of(std::string((32 << 20) + 1, '.')), HasSubstr("limit"));
  // Calls with a long tuple of arguments from the memo take no time of its length.
  std::string calls = pickled::tuple(std::vector<std::string>(500'000, "N")) + "q\x01";
  for (int i = 0; i < 500'000; ++i) calls += "h\x01h\x01R";
  EXPECT_THAT(error_of(calls), HasSubstr("a tuple as a function"));
}

}  // namespace
}  // namespace quire
