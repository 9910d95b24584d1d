// Sampling fields as JSON, with the names of the OpenAI API and of vLLM's extensions: what flags,
// lines of a prompt file and --override-generation-config have in common.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/expected.h"
#include "quire/sampling_params.h"

namespace CLI {
class App;
}

namespace quire {

// Sets the fields of `params` that `fields` (an object) names; null leaves a field alone, other
// keys are skipped.  Fails with a message naming the field of the wrong type.  Ranges are checked
// later, by the InputProcessor.
Expected<void, std::string> apply_sampling_json(const nlohmann::json& fields,
                                                SamplingParams& params);

bool is_sampling_field(const std::string& name);

// --temperature, --top-p, ... : what is given ends up in `fields`, which outlives `app`.
void add_sampling_flags(CLI::App& app, nlohmann::json& fields);

}  // namespace quire
