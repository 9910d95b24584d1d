// The table of endpoints.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "server/generation.h"
#include "server/http.h"

namespace quire {

struct ServerContext;

// Answers at once.
using AnswerFunction = HttpResponse (*)(ServerContext&, const HttpRequest&);
// Validates and tokenises; the generation is then started on the connection's I/O thread.
using PrepareFunction = Expected<std::shared_ptr<Generation>, RequestError> (*)(ServerContext&,
                                                                                const HttpRequest&);

enum class RunsOn {
  kIoThread,  // microseconds
  kWorker,    // anything that parses a body or tokenises
};

struct Route {
  std::string_view method;
  std::string_view path;  // a trailing * stands for one or more characters
  RunsOn runs_on;
  AnswerFunction answer;    // either this
  PrepareFunction prepare;  // or this; else null
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::string allowed_methods;  // of the path; empty if no route has it
};

// HEAD matches GET.
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace quire
