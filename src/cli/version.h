// What this binary is: filled in when the build is configured.
#pragma once

namespace quire {

const char* version_string();  // "0.1.0"
const char*
version_commit();  // short commit id, "-dirty" appended if files differed; "unknown" outside git
const char* version_compiler();
const char* version_build_type();

}  // namespace quire
