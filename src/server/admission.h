// From a request's head to its handler: who may come in, and on which thread it is served.
#pragma once

#include <optional>

#include "server/http.h"
#include "server/response_writer.h"
#include "server/routes.h"

namespace quire {

struct ServerContext;

struct Admission {
  const Route* route = nullptr;
  std::optional<HttpResponse>
      refusal;  // 204 to OPTIONS, 401, 404, 405 or 503; then the body is not read
};

// Decides on method, path and headers alone.
Admission admit(ServerContext& context, const HttpRequest& request);

// Serves an admitted request; the answer comes through `writer`.  Thread: I/O.
void dispatch(ServerContext& context, const Route& route, HttpRequest&& request,
              ResponseWriter writer);

}  // namespace quire
