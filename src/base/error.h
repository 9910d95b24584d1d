// The errors that cross layers (style: four kinds, four means).
//   our bug         CHECK (check.h), aborts
//   bad request     RequestError, returned in an Expected, settled before the engine's inbox
//   cannot start    LoadError, thrown, caught once in cli/main.cc
//   device failed   DeviceError, thrown, caught once in the engine loop
#pragma once

#include <stdexcept>
#include <string>

namespace quire {

// A request that cannot be served, in the terms of the OpenAI error object.
struct RequestError {
  int http_status = 400;
  std::string type = "invalid_request_error";  // OpenAI's error.type
  std::string code;                            // OpenAI's error.code, empty for null
  std::string param;                           // the offending field, empty for null
  std::string message;                         // what is wrong and what to do
};

// A file, architecture, format or amount of memory with which quire cannot start.
// The message names the file, tensor, key or flag, and the remedy.
class LoadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device failed in the middle of a step; live requests are lost.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace quire
