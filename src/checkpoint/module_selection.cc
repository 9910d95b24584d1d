#include "checkpoint/module_selection.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace quire {
namespace {

// Whether `text` is `end`, or ends in it after a dot.
bool ends_in(std::string_view text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  return text.size() == end.size() || text[text.size() - end.size() - 1] == '.';
}

std::optional<int64_t> to_number(std::string_view segment) {
  int64_t number = 0;
  const char* end = segment.data() + segment.size();
  const auto [stop, error] = std::from_chars(segment.data(), end, number);
  if (error != std::errc() || stop != end || segment.front() == '-') return std::nullopt;
  return number;
}

// The first number among the segments of `module`, from `first_segment` on and but for the last,
// that follows `list`; an empty `list` stands for any.
std::optional<int64_t> layer_index_in(std::string_view module, std::string_view list,
                                      size_t first_segment) {
  size_t begin = 0;  // of a segment
  for (size_t segment = 0;; ++segment) {
    const size_t end = module.find('.', begin);
    if (end == std::string_view::npos) return std::nullopt;  // the last is never the layer
    const std::string_view before = module.substr(0, begin == 0 ? 0 : begin - 1);
    if (segment >= first_segment && (list.empty() || ends_in(before, list))) {
      const std::optional<int64_t> number = to_number(module.substr(begin, end - begin));
      if (number) return number;
    }
    begin = end + 1;
  }
}

}  // namespace

bool NamesOrPattern::contains(std::string_view module) const {
  if (pattern) return pattern->matches(module);
  return std::ranges::any_of(names, [&](const auto& name) { return ends_in(module, name); });
}

bool ModuleSelection::contains(std::string_view module) const {
  CHECK(is_known(), "target_modules is unknown");
  if (excluded.contains(module)) return false;
  if (all_linear) return layer_index_in(module, "", 0).has_value();
  if (!targets->contains(module)) return false;
  // PEFT takes a name that is given whole whatever its layer.
  const bool whole = std::ranges::find(targets->names, module) != targets->names.end();
  if (layers.empty() || whole) return true;
  const std::optional<int64_t> layer = layer_index_of(module, layer_lists);
  return layer && std::ranges::find(layers, *layer) != layers.end();
}

std::optional<int64_t> layer_index_of(std::string_view module,
                                      const std::vector<std::string>& layer_lists) {
  if (layer_lists.empty()) return layer_index_in(module, "", 2);
  for (const std::string& list : layer_lists) {
    if (const auto index = layer_index_in(module, list, 1)) return index;
  }
  return std::nullopt;
}

}  // namespace quire
