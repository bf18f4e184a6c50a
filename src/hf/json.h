// JSON files of a checkpoint: size and syntax checked, fields read with their type or an error that names them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace tenon::hf {

using Json = nlohmann::json;

// Errors: bad-model (syntax, a key given twice, nested too deep), starting with `file`.
Result<Json> parse_json(std::string_view text, const std::string& file);
// The same from a file of at most 64 MiB.
Result<Json> read_json(const std::string& path);
// The same, and an object is required.
Result<Json> read_object(const std::string& path);

// A field of an object, or `fallback` where it is absent or null. Errors: bad-model (another type), naming the field.
Result<int64_t> get_int(const Json& object, const char* key, int64_t fallback);
Result<double> get_number(const Json& object, const char* key, double fallback);
Result<bool> get_bool(const Json& object, const char* key, bool fallback);
Result<std::string> get_string(const Json& object, const char* key, std::string fallback);

}  // namespace tenon::hf
