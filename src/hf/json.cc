#include "hf/json.h"

#include <set>
#include <vector>

#include "base/mapped_file.h"

namespace tenon::hf {
namespace {

constexpr size_t kMaxJsonBytes = size_t{64} << 20;
constexpr int kMaxDepth = 64;
constexpr size_t kMaxMessage = 200;  // the parser's messages quote the file

const Json* find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Status wrong_type(const char* key, const char* expected) {
  return error(ErrorCode::kBadModel, "\"{}\" is not {}", key, expected);
}

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& file) {
  // The parser would take a NUL for the end, whatever follows.
  if (text.find('\0') != std::string_view::npos)
    return error(ErrorCode::kBadModel, "{}: parse error: a NUL byte", file);
  // It keeps the last of two equal keys; a file that says two things is refused.
  std::vector<std::set<std::string>> keys;
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) deep = true;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return !deep;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& e) {
    return error(ErrorCode::kBadModel, "{}: {}", file, std::string_view(e.what()).substr(0, kMaxMessage));
  }
  if (deep) return error(ErrorCode::kBadModel, "{}: nested more than {} levels deep", file, kMaxDepth);
  if (!twice.empty()) return error(ErrorCode::kBadModel, "{}: the key \"{}\" is given twice", file, twice);
  return json;
}

Result<Json> read_json(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  const auto bytes = file->bytes();
  if (bytes.size() > kMaxJsonBytes)
    return error(ErrorCode::kBadModel, "{}: {} bytes of JSON, at most {} expected", path, bytes.size(), kMaxJsonBytes);
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Result<Json> read_object(const std::string& path) {
  TENON_ASSIGN(Json json, read_json(path));
  if (!json.is_object()) return error(ErrorCode::kBadModel, "{}: not a JSON object", path);
  return json;
}

Result<int64_t> get_int(const Json& object, const char* key, int64_t fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  const bool fits =
      value->is_number_integer() && !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits) return wrong_type(key, "an integer");
  return value->get<int64_t>();
}

Result<double> get_number(const Json& object, const char* key, double fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return wrong_type(key, "a number");
  return value->get<double>();
}

Result<bool> get_bool(const Json& object, const char* key, bool fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return wrong_type(key, "true or false");
  return value->get<bool>();
}

Result<std::string> get_string(const Json& object, const char* key, std::string fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return wrong_type(key, "a string");
  return value->get<std::string>();
}

}  // namespace tenon::hf
