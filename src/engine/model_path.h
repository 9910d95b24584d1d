// Where a model's files are.
#pragma once

#include <string>

namespace quire {

// The directory of `model`: a directory as it stands; "quire-demo" (or empty) the bundled model; a
// hub id
// ("org/name", optionally "@revision") the snapshot in the local Hugging Face cache (HF_HUB_CACHE,
// HF_HOME or
// ~/.cache/huggingface).  Throws LoadError saying where it looked.
std::string resolve_model_path(const std::string& model);

// The directory of an adapter: a directory as it stands; "quire-demo/NAME" an adapter of the
// bundled model; a hub id as above.  Throws LoadError saying where it looked.
std::string resolve_adapter_path(const std::string& adapter);

// The folder of the Hugging Face cache that is searched, whether it exists or not.
std::string hub_cache_path();

}  // namespace quire
