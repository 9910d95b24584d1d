// The table of endpoints.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "server/adapter_reading.h"
#include "server/generation.h"
#include "server/http.h"

namespace quire {

struct ServerContext;

// Answers at once.
using AnswerFunction = HttpResponse (*)(ServerContext&, const HttpRequest&);
// Validates and tokenises; the generation is then started on the connection's I/O thread.  Null:
// to be called again where adapters may be read.
using PrepareFunction = Expected<std::shared_ptr<Generation>, RequestError> (*)(ServerContext&,
                                                                                const HttpRequest&,
                                                                                AdapterReading);

enum class RunsOn {
  kIoThread,       // microseconds
  kWorker,         // anything that parses a body, tokenises, or grows with the number of adapters
  kAdapterWorker,  // what reads adapters
};

// Whose key opens it, where keys are set.
enum class KeyKind { kClient, kAdmin };

struct Route {
  std::string_view method;
  std::string_view path;  // a trailing * stands for one or more characters
  RunsOn runs_on;
  AnswerFunction answer;    // either this
  PrepareFunction prepare;  // or this; else null
  KeyKind key = KeyKind::kClient;
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::string allowed_methods;  // of the path; empty if no route has it
};

// HEAD matches GET.
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace quire
