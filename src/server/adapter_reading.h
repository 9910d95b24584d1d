// Whether a thread may wait for an adapter to be read from disk.
#pragma once

namespace quire {

enum class AdapterReading {
  kDeferred,  // no: whoever meets an adapter that is not in host memory says so and is called again
  kAllowed,
};

}  // namespace quire
