#include "checkpoint/pickle_reader.h"

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie");

// A tensor takes some 20 objects and 200 bytes; this is enough for 100,000 tensors.
constexpr size_t kMaxObjects = 2'000'000;
constexpr size_t kMaxPickleBytes = 32 << 20;
constexpr size_t kMaxDims = 16;         // any that a tensor may have; a weight has two
constexpr size_t kMaxKeyBytes = 64;     // of a storage; it is a decimal number
constexpr size_t kMaxShownBytes = 200;  // of a name in a message

constexpr const char* kRemedy =
    "; only a dictionary of plain tensors is read from a pickle, and nothing is executed: load the "
    "adapter with PEFT and save it again as safetensors";

// An index into the reader's objects.  An object refers to others by index, so that neither cycles
// nor depth matter.
using Ref = uint32_t;

enum class Kind : uint8_t {
  kNone,
  kBool,
  kInteger,
  kString,
  kTuple,
  kDict,
  kGlobal,
  kStorage,
  kTensor
};
constexpr std::array<const char*, 9> kKindNames = {"None",     "a boolean", "an integer",
                                                   "a string", "a tuple",   "a dictionary",
                                                   "a global", "a storage", "a tensor"};

struct Object {
  Kind kind = Kind::kNone;
  int64_t number = 0;          // of a boolean or integer; of a storage, its number of elements
  std::string_view text = {};  // of a string; of a global, its entry of kGlobals; of a storage, its
                               // key
  std::vector<Ref> items = {};  // of a tuple; of a dictionary, keys and values in turn; of a
                                // storage, its type; of a tensor, storage, offset, sizes, strides
};

// The instructions, by pickletools' names.
enum Opcode : uint8_t {
  kMark = '(',
  kEmptyTuple = ')',
  kStop = '.',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNoneOpcode = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kBuild = 'b',
  kGlobalOpcode = 'c',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kGlobals[] = {
    kOrderedDict,        kRebuildTensor,          kRebuildParameter,     "torch.FloatStorage",
    "torch.HalfStorage", "torch.BFloat16Storage", "torch.DoubleStorage", "torch.LongStorage",
    "torch.IntStorage",  "torch.ShortStorage",    "torch.CharStorage",   "torch.ByteStorage",
    "torch.BoolStorage"};

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kMaxShownBytes)) shown += c >= ' ' && c < 0x7f ? c : '?';
  return text.size() <= kMaxShownBytes ? shown : shown + "...";
}

class PickleReader {
 public:
  PickleReader(const std::string& where, std::span<const std::byte> pickle)
      : where_(where), pickle_(reinterpret_cast<const char*>(pickle.data()), pickle.size()) {}

  std::map<std::string, PickledTensor> read() {
    if (pickle_.size() > kMaxPickleBytes) {
      fail("has " + std::to_string(pickle_.size()) + " bytes, the limit is " +
           std::to_string(kMaxPickleBytes));
    }
    while (step()) {
    }
    const Ref result = pop();
    if (!stack_.empty()) fail("leaves values on its stack");
    return tensors_of(result);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw LoadError(where_ + "the pickle " + problem + kRemedy);
  }

  // Executes one instruction; returns false for the last.
  bool step() {
    const auto opcode = static_cast<uint8_t>(take(1)[0]);
    switch (opcode) {
      case kStop:
        return false;
      case kProto:
        return take(1), true;
      case kMark:
        return marks_.push_back(stack_.size()), true;
      case kBinPut:
        return put(take_number<uint8_t>()), true;
      case kLongBinPut:
        return put(take_number<uint32_t>()), true;
      case kBinGet:
        return get(take_number<uint8_t>()), true;
      case kLongBinGet:
        return get(take_number<uint32_t>()), true;
      case kReduce:
        return reduce(), true;
      case kBinPersId:
        return load_storage(), true;
      case kBuild:
        return build(), true;
      case kSetItem:
        return set_items(pop_many(2)), true;
      case kSetItems:
        return set_items(pop_to_mark()), true;
      default:
        return push(read_value(opcode)), true;
    }
  }

  // An instruction that only makes a value.
  Object read_value(uint8_t opcode) {
    switch (opcode) {
      case kNoneOpcode:
        return {.kind = Kind::kNone};
      case kNewTrue:
        return {.kind = Kind::kBool, .number = 1};
      case kNewFalse:
        return {.kind = Kind::kBool, .number = 0};
      case kBinInt:
        return {.kind = Kind::kInteger, .number = take_number<int32_t>()};
      case kBinInt1:
        return {.kind = Kind::kInteger, .number = take_number<uint8_t>()};
      case kBinInt2:
        return {.kind = Kind::kInteger, .number = take_number<uint16_t>()};
      case kLong1:
        return {.kind = Kind::kInteger, .number = take_long()};
      case kBinUnicode:
        return {.kind = Kind::kString, .text = take(take_number<uint32_t>())};
      case kEmptyDict:
        return {.kind = Kind::kDict};
      case kEmptyTuple:
        return {.kind = Kind::kTuple};
      case kTuple:
        return {.kind = Kind::kTuple, .items = pop_to_mark()};
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return {.kind = Kind::kTuple, .items = pop_many(opcode - size_t{kTuple1} + 1)};
      case kGlobalOpcode:
        return read_global();
      default:
        fail("has instruction " + std::to_string(opcode) + " at byte " +
             std::to_string(position_ - 1) + ", which is not understood");
    }
  }

  std::string_view take(size_t num_bytes) {
    if (num_bytes > pickle_.size() - position_) fail("is truncated");
    position_ += num_bytes;
    return pickle_.substr(position_ - num_bytes, num_bytes);
  }
  template <typename T>
  T take_number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  // A length, and a number in that many bytes, least significant first, in two's complement.
  int64_t take_long() {
    const std::string_view bytes = take(take_number<uint8_t>());
    if (bytes.empty()) return 0;
    if (bytes.size() > sizeof(int64_t)) fail("has an integer of more than 64 bits");
    int64_t number = static_cast<signed char>(bytes.back()) < 0 ? -1 : 0;
    std::memcpy(&number, bytes.data(), bytes.size());
    return number;
  }
  std::string_view take_line() {
    const size_t end = pickle_.find('\n', position_);
    if (end == std::string_view::npos) fail("is truncated");
    const std::string_view line = take(end - position_);
    take(1);
    return line;
  }

  void push(Object object) {
    if (objects_.size() >= kMaxObjects) {
      fail("makes more than " + std::to_string(kMaxObjects) + " values");
    }
    objects_.push_back(std::move(object));
    stack_.push_back(static_cast<Ref>(objects_.size() - 1));
  }
  // What is below the last mark belongs to whoever closes the mark.
  Ref pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("takes from an empty stack");
    const Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  std::vector<Ref> pop_many(size_t count) {
    std::vector<Ref> refs(count);
    while (count > 0) refs[--count] = pop();
    return refs;
  }
  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) fail("takes to a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Ref> refs(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return refs;
  }

  void put(uint32_t key) {
    const Ref ref = pop();
    stack_.push_back(ref);
    memo_[key] = ref;
  }
  void get(uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("reads a memo that was not written");
    // Not an object, but it takes memory all the same.
    if (stack_.size() >= kMaxObjects) fail("has too many values on its stack");
    stack_.push_back(found->second);
  }

  Object read_global() {
    const std::string module(take_line());
    const std::string name = module + "." + std::string(take_line());
    for (const std::string_view known : kGlobals) {
      if (name == known) return {.kind = Kind::kGlobal, .text = known};
    }
    fail("asks for the global '" + printable(name) + "'");
  }

  const Object& expect(Ref ref, Kind kind, const char* what) const {
    const Object& object = objects_[ref];
    if (object.kind != kind) {
      fail(std::string("has ") + kKindNames[static_cast<size_t>(object.kind)] + " as " + what +
           ", not " + kKindNames[static_cast<size_t>(kind)]);
    }
    return object;
  }

  void reduce() {
    const Ref arguments_ref = pop();
    const std::string_view function = expect(pop(), Kind::kGlobal, "a function").text;
    const std::vector<Ref>& arguments =
        expect(arguments_ref, Kind::kTuple, "the arguments of a call").items;
    if (function == kOrderedDict && arguments.empty()) {
      push({.kind = Kind::kDict});
    } else if (function == kRebuildTensor && arguments.size() == 6) {
      // storage, offset, sizes, strides; then requires_grad and hooks, which say nothing here
      expect(arguments[0], Kind::kStorage, "a tensor's storage");
      expect(arguments[1], Kind::kInteger, "a tensor's offset");
      for (const Ref tuple : {arguments[2], arguments[3]}) {
        if (expect(tuple, Kind::kTuple, "a tensor's sizes or strides").items.size() > kMaxDims) {
          fail("has a tensor of more than " + std::to_string(kMaxDims) + " dimensions");
        }
      }
      push({.kind = Kind::kTensor, .items = {arguments.begin(), arguments.begin() + 4}});
    } else if (function == kRebuildParameter && arguments.size() == 3) {
      expect(arguments[0], Kind::kTensor, "a parameter's data");
      stack_.push_back(arguments[0]);
    } else {
      fail("calls '" + std::string(function) + "' with " + std::to_string(arguments.size()) +
           " arguments, which is not understood");
    }
  }

  // ('storage', type, key, device, number of elements)
  void load_storage() {
    const std::vector<Ref>& id = expect(pop(), Kind::kTuple, "a storage's identity").items;
    if (id.size() != 5 || expect(id[0], Kind::kString, "an identity's kind").text != "storage") {
      fail("has an identity that is not a storage's");
    }
    const std::string_view type = expect(id[1], Kind::kGlobal, "a storage's type").text;
    if (!type.ends_with("Storage")) fail("has '" + std::string(type) + "' as a storage's type");
    const std::string_view key = expect(id[2], Kind::kString, "a storage's key").text;
    if (key.size() > kMaxKeyBytes)
      fail("has a storage's key of " + std::to_string(key.size()) + " bytes");
    const int64_t size = expect(id[4], Kind::kInteger, "a storage's size").number;
    push({.kind = Kind::kStorage, .number = size, .text = key, .items = {id[1]}});
  }

  // Attributes of a dictionary, such as a state_dict's _metadata, are not part of its content.
  void build() {
    pop();
    const Ref ref = pop();
    expect(ref, Kind::kDict, "what has attributes");
    stack_.push_back(ref);
  }

  void set_items(const std::vector<Ref>& items) {
    if (items.size() % 2 != 0) fail("sets a key without a value");
    const Ref ref = pop();
    stack_.push_back(ref);
    expect(ref, Kind::kDict, "what items are set of");
    std::vector<Ref>& all = objects_[ref].items;
    all.insert(all.end(), items.begin(), items.end());
  }

  std::vector<int64_t> integers_of(Ref tuple, const char* what) const {
    std::vector<int64_t> integers;
    for (const Ref item : objects_[tuple].items) {
      integers.push_back(expect(item, Kind::kInteger, what).number);
    }
    return integers;
  }

  std::map<std::string, PickledTensor> tensors_of(Ref result) const {
    const std::vector<Ref>& items = expect(result, Kind::kDict, "its result").items;
    std::map<std::string, PickledTensor> tensors;
    for (size_t i = 0; i < items.size(); i += 2) {
      const std::string name(expect(items[i], Kind::kString, "a tensor's name").text);
      const std::string what = "the value of '" + printable(name) + "'";
      const Object& tensor = expect(items[i + 1], Kind::kTensor, what.c_str());
      const Object& storage = objects_[tensor.items[0]];
      PickledTensor description{.storage_type = std::string(objects_[storage.items[0]].text),
                                .storage_key = std::string(storage.text),
                                .storage_elements = storage.number,
                                .offset = objects_[tensor.items[1]].number,
                                .sizes = integers_of(tensor.items[2], "a tensor's size"),
                                .strides = integers_of(tensor.items[3], "a tensor's stride")};
      if (description.sizes.size() != description.strides.size()) {
        fail("has a tensor '" + printable(name) + "' with more sizes than strides, or fewer");
      }
      if (!tensors.emplace(name, std::move(description)).second) {
        fail("has two tensors '" + printable(name) + "'");
      }
    }
    return tensors;
  }

  const std::string& where_;
  std::string_view pickle_;
  size_t position_ = 0;
  std::vector<Object> objects_;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<uint32_t, Ref> memo_;
};

}  // namespace

std::map<std::string, PickledTensor> read_pickled_tensors(const std::string& where,
                                                          std::span<const std::byte> pickle) {
  return PickleReader(where, pickle).read();
}

}  // namespace quire
