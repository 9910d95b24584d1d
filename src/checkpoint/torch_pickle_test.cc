#include "checkpoint/torch_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "checkpoint/zip_archive.h"
#include "support/pickle_bytes.h"
#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"
#include "tensor/float16.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Written by PyTorch 2.11 (CPU):
//   d = collections.OrderedDict()
//   p = "base_model.model.m.0."
//   d[p + "q.lora_A.weight"] = Parameter(tensor([[0., 1, 2], [3, 4, 5]]).bfloat16())
//   d[p + "q.lora_B.weight"] = tensor([[0., 1], [2, 3], [4, 5], [6, 7]]).half()
//   shared = arange(12, dtype=float32)
//   d[p + "v.lora_A.weight"] = shared[:3].view(1, 3)
//   d[p + "v.lora_B.weight"] = shared[8:].view(4, 1)
//   d._metadata = collections.OrderedDict([("", {"version": 1})])
//   torch.save(d, "adapter_model.bin")
const std::string kFixture = QUIRE_SOURCE_DIR "/tests/support/torch_save.bin";

template <typename T>
T load(const TensorView& view, int64_t i) {  // which may be unaligned
  T value;
  std::memcpy(&value, view.as<char>() + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
float value_of(const TensorView& view, int64_t i) {
  if (view.dtype == DType::kBF16) return bf16_to_float(load<uint16_t>(view, i));
  if (view.dtype == DType::kF16) return f16_to_float(load<uint16_t>(view, i));
  return load<float>(view, i);
}
std::vector<float> values_of(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = value_of(view, static_cast<int64_t>(i));
  return values;
}
void expect_fixture(const TorchPickleFile& file) {
  const std::string prefix = "base_model.model.m.0.";
  const auto& tensors = file.tensors();
  ASSERT_EQ(tensors.size(), 4U);
  const TensorView& q_a = tensors.at(prefix + "q.lora_A.weight");
  EXPECT_EQ(q_a.shape, (Shape{2, 3}));
  EXPECT_EQ(q_a.dtype, DType::kBF16);
  EXPECT_THAT(values_of(q_a), ElementsAre(0, 1, 2, 3, 4, 5));
  const TensorView& q_b = tensors.at(prefix + "q.lora_B.weight");
  EXPECT_EQ(q_b.dtype, DType::kF16);
  EXPECT_THAT(values_of(q_b), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(values_of(tensors.at(prefix + "v.lora_A.weight")), ElementsAre(0, 1, 2));
  EXPECT_EQ(tensors.at(prefix + "v.lora_B.weight").shape, (Shape{4, 1}));
  EXPECT_THAT(values_of(tensors.at(prefix + "v.lora_B.weight")), ElementsAre(8, 9, 10, 11));
}

// The entries of the fixture, to be packed otherwise.
std::vector<ZipContent> fixture_files() {
  const std::string bytes = read_bytes(kFixture);
  std::vector<ZipContent> files;
  for (const auto& [name, entry] : parse_zip(kFixture, std::as_bytes(std::span(bytes)))) {
    files.push_back({name, {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()}});
  }
  return files;
}

class TorchPickle : public ::testing::Test {
 protected:
  std::string error_of(const std::string& bytes) {
    const std::string path = directory.write("x.bin", bytes);
    return load_error_of([&] { TorchPickleFile{path}; });
  }
  std::string error_of_files(const std::vector<ZipContent>& files) {
    return error_of(zip_bytes(files));
  }
  // Of a file with one tensor 't' and a storage '0' of 8 bytes.
  std::string error_of_tensor(const pickled::TensorFields& fields) {
    return error_of_files({{"x/data.pkl", pickled::dictionary({{"t", pickled::tensor(fields)}})},
                           {"x/data/0", "12345678"}});
  }
  TempDir directory;
};

TEST_F(TorchPickle, ReadsWhatTorchSaves) {
  const TorchPickleFile file(kFixture);
  expect_fixture(file);
}

TEST_F(TorchPickle, ReadsOtherArchives) {
  for (const bool deflated : {false, true}) {
    for (const bool zip64 : {false, true}) {
      const std::string path = directory.write(
          "x.bin", zip_bytes(fixture_files(), {.deflated = deflated, .zip64 = zip64}));
      expect_fixture(TorchPickleFile(path));
    }
  }
}

TEST_F(TorchPickle, StaysValidWhenMoved) {
  TorchPickleFile file(directory.write("x.bin", zip_bytes(fixture_files(), {.deflated = true})));
  expect_fixture(TorchPickleFile(std::move(file)));
}

TEST_F(TorchPickle, RefusesWhatIsNoArchiveOfTensors) {
  EXPECT_THAT(error_of("\x80\x02\x8a\x0al"), AllOf(HasSubstr("x.bin"), HasSubstr("1.6")));
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
  EXPECT_THAT(error_of_files({{"a", "b"}}), HasSubstr("no data.pkl"));
  EXPECT_THAT(error_of_files({{"x/data.pkl", "}."}, {"x/byteorder", "big"}}),
              HasSubstr("big-endian"));
  EXPECT_EQ(error_of_files({{"x/data.pkl", "}."}, {"x/byteorder", "little"}}), "");
}

TEST_F(TorchPickle, ChecksEveryTensorAgainstItsStorage) {
  EXPECT_EQ(error_of_tensor({.elements = 2, .sizes = {1, 2}, .strides = {2, 1}}), "");
  EXPECT_EQ(error_of_tensor({.elements = 2, .sizes = {1, 2}, .strides = {99, 1}}), "");
  EXPECT_EQ(error_of_tensor({.elements = 2, .offset = 1, .sizes = {1}, .strides = {1}}), "");
  EXPECT_THAT(error_of_tensor({.key = "1", .elements = 2, .sizes = {2}, .strides = {1}}),
              HasSubstr("'x/data/1' is missing"));
  EXPECT_THAT(error_of_tensor({.elements = 2, .sizes = {3}, .strides = {1}}),
              AllOf(HasSubstr("tensor 't'"), HasSubstr("does not fit its storage of 8 bytes")));
  EXPECT_THAT(error_of_tensor({.elements = 2, .offset = 1, .sizes = {2}, .strides = {1}}),
              HasSubstr("does not fit"));
  EXPECT_THAT(error_of_tensor({.elements = 2, .offset = -1, .sizes = {1}, .strides = {1}}),
              HasSubstr("does not fit"));
  EXPECT_THAT(error_of_tensor({.elements = 3, .sizes = {2}, .strides = {1}}),
              HasSubstr("does not fit"));
  EXPECT_THAT(error_of_tensor({.type = "HalfStorage", .elements = 2, .sizes = {2}, .strides = {1}}),
              HasSubstr("does not fit"));
  EXPECT_THAT(error_of_tensor({.elements = 2,
                               .sizes = {int64_t{1} << 40, int64_t{1} << 40},
                               .strides = {int64_t{1} << 40, 1}}),
              HasSubstr("is not supported"));
  EXPECT_THAT(error_of_tensor({.elements = 2, .sizes = {-1}, .strides = {1}}),
              HasSubstr("[-1] is not supported"));
  EXPECT_THAT(
      error_of_tensor({.elements = 2, .sizes = {1, 1, 1, 1, 1}, .strides = {1, 1, 1, 1, 1}}),
      HasSubstr("is not supported"));
}

TEST_F(TorchPickle, RefusesOtherTypesAndStrides) {
  EXPECT_THAT(
      error_of_tensor({.type = "DoubleStorage", .elements = 1, .sizes = {1}, .strides = {1}}),
      AllOf(HasSubstr("tensor 't'"), HasSubstr("torch.DoubleStorage")));
  EXPECT_THAT(error_of_tensor({.elements = 2, .sizes = {2}, .strides = {0}}),
              AllOf(HasSubstr("tensor 't'"), HasSubstr("strides [0]")));
}

// Damage anywhere in the file, in the archive's structure and in the pickle alone, ends in a
// LoadError or in a file whose tensors can be read.
TEST_F(TorchPickle, SurvivesRandomDamage) {
  std::mt19937 random(1);
  const auto damage = [&](std::string bytes) {
    const size_t num_changes = 1 + random() % 4;
    for (size_t i = 0; i < num_changes && !bytes.empty(); ++i) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 2:
          bytes.erase(at, 1 + random() % 8);
          break;
        default:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 16));
      }
    }
    return bytes;
  };
  std::vector<ZipContent> files = fixture_files();
  const auto pickle =
      std::ranges::find_if(files, [](const auto& file) { return file.name.ends_with(".pkl"); });
  const std::string good_pickle = pickle->content;
  size_t num_read = 0;
  for (int i = 0; i < 4000; ++i) {
    pickle->content = i % 2 == 0 ? damage(good_pickle) : good_pickle;
    const std::string archive = zip_bytes(files, {.deflated = i % 3 == 0, .zip64 = i % 5 == 0});
    const std::string path = directory.write("x.bin", i % 2 == 0 ? archive : damage(archive));
    try {
      const TorchPickleFile file(path);
      for (const auto& [name, view] : file.tensors()) values_of(view);
      ++num_read;
    } catch (const LoadError& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.bin"));
    }
  }
  EXPECT_GT(num_read, 100U);  // else the damage is too coarse to reach far
  EXPECT_LT(num_read, 3900U);
}

}  // namespace
}  // namespace quire
