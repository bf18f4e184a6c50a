#include "hf/image_processor.h"

#include <fmt/core.h>

#include <filesystem>

#include "hf/json.h"

namespace tenon::hf {
namespace {

// Three numbers, as text.
Result<std::string> channels_of(const Json& json, const char* key) {
  const auto list = json.find(key);
  if (list == json.end() || list->is_null()) return std::string("0.5,0.5,0.5");
  if (!list->is_array() || list->size() != 3)
    return error(ErrorCode::kBadModel, "\"{}\" is no list of three numbers", key);
  std::string text;
  for (const Json& number : *list) {
    if (!number.is_number()) return error(ErrorCode::kBadModel, "\"{}\" is no list of three numbers", key);
    text += fmt::format("{}{}", text.empty() ? "" : ",", number.get<double>());
  }
  return text;
}

Result<std::map<std::string, std::string>> parse(const Json& json) {
  std::map<std::string, std::string> p{{"image_mean", "0,0,0"}, {"image_std", "1,1,1"}, {"image_fit", "stretch"}};
  TENON_ASSIGN(const bool normalises, get_bool(json, "do_normalize", true));
  if (normalises) {
    TENON_ASSIGN(p["image_mean"], channels_of(json, "image_mean"));
    TENON_ASSIGN(p["image_std"], channels_of(json, "image_std"));
  }
  constexpr int64_t kBilinear = 2, kBicubic = 3;  // PIL's numbers
  TENON_ASSIGN(const int64_t resample, get_int(json, "resample", kBilinear));
  if (resample != kBilinear && resample != kBicubic)
    return error(ErrorCode::kUnsupported, "\"resample\" is {}; bilinear (2) and bicubic (3) are supported", resample);
  p["image_interpolation"] = resample == kBicubic ? "bicubic" : "bilinear";
  TENON_ASSIGN(const bool crops, get_bool(json, "do_center_crop", false));
  const bool fraction = json.contains("crop_pct") && json["crop_pct"].is_number();
  const auto size = json.find("size");
  if (!(crops || fraction) || size == json.end() || !(size->is_object() || size->is_number_integer())) return p;
  // Either one number, or {"shortest_edge": …}, or both sides.
  int64_t side = 0;
  if (size->is_object()) {
    TENON_ASSIGN(side, get_int(*size, "shortest_edge", 0));
    if (side == 0) {
      TENON_ASSIGN(side, get_int(*size, "height", 0));
    }
  } else {
    side = size->get<int64_t>();
  }
  constexpr int64_t kMost = 16384;
  if (side < 1 || side > kMost) return error(ErrorCode::kBadModel, "\"size\" is {}, not within 1 to {}", side, kMost);
  // ConvNeXt's way: the centre is so much of the short side, and large images are not cut.
  if (fraction) {
    constexpr int64_t kNotCut = 384;
    const double part = json["crop_pct"].get<double>();
    if (!(part > 0.01 && part <= 1)) return error(ErrorCode::kBadModel, "\"crop_pct\" is {}, not within 0.01 to 1", part);
    if (side >= kNotCut) return p;
    side = static_cast<int64_t>(static_cast<double>(side) / part);
  }
  p["image_fit"] = "crop";
  p["image_resize"] = std::to_string(side);
  return p;
}

}  // namespace

Result<std::map<std::string, std::string>> read_image_processor(const std::string& folder) {
  const std::string path = folder + "/preprocessor_config.json";
  std::error_code failed;
  Json json = Json::object();
  if (std::filesystem::is_regular_file(path, failed)) {
    TENON_ASSIGN(json, read_object(path));
  }
  auto properties = parse(json);
  return properties.ok() ? std::move(properties) : properties.status().with_context(path);
}

}  // namespace tenon::hf
