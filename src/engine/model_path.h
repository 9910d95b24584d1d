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

// The folder of the Hugging Face cache that is searched, whether it exists or not.
std::string hub_cache_path();

}  // namespace quire
