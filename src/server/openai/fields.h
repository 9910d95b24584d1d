// Typed access to the members of a request object.  Null and absent are the same unless stated.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/json.h"

namespace quire {

// Reads members one after another; after the first that has the wrong type nothing more is read,
// and error() says which.  Members that nobody reads are ignored, as OpenAI's clients expect.
class Fields {
 public:
  // `object` outlives this.  `prefix` precedes names in errors, e.g. "stream_options.".
  explicit Fields(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // Each leaves `out` as it is if the member is absent or null.
  void read(const char* name, bool& out);
  void read(const char* name, int& out);
  void read(const char* name, int64_t& out);
  void read(const char* name, float& out);
  void read(const char* name, std::string& out);
  void read(const char* name, std::vector<int32_t>& out);
  void read(const char* name, std::map<int32_t, float>& out);  // {"123": 1.5}
  template <typename T>
  void read(const char* name, std::optional<T>& out) {
    if (find(name) == nullptr) return;
    T value{};
    read(name, value);
    if (!error_) out = std::move(value);
  }
  // One string or an array of strings.
  void read_strings(const char* name, std::vector<std::string>& out);

  // The member, or null if it is absent, null, or an earlier read failed.
  const Json* find(const char* name) const;
  // The member if it is an object (array); an error if it is something else.
  const Json* find_object(const char* name);
  const Json* find_array(const char* name);
  bool is_explicit_null(const char* name) const;

  // Records an error unless there is one already.
  void fail(RequestError error);
  void fail(const char* name, const std::string& message);
  const std::optional<RequestError>& error() const { return error_; }

 private:
  void wrong_type(const std::string& name, const char* expected, const Json& value);
  std::optional<int64_t> to_integer(const std::string& name, const Json& value, int64_t min,
                                    int64_t max);
  std::optional<float> to_float(const std::string& name, const Json& value);

  const Json& object_;
  const std::string prefix_;
  std::optional<RequestError> error_;
};

}  // namespace quire
