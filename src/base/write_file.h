// Small files written whole.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace tenon {

// Writes beside `path` and renames: readers see the old file or the new one, never a part. Errors: io.
Status write_file(const std::string& path, std::string_view contents);

// Errors: not-found, io.
Result<std::string> read_file(const std::string& path);

}  // namespace tenon
