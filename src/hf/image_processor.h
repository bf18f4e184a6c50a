// preprocessor_config.json: how a checkpoint's images are to be resized and normalised.
#pragma once

#include <map>
#include <string>

#include "base/status.h"

namespace tenon::hf {

// As properties of the model: image_mean and image_std ("0.5,0.5,0.5", of pixels in [0, 1]), image_fit ("stretch": to
// the model's size, or "crop": the short side to image_resize, then the centre), image_interpolation ("bilinear" or
// "bicubic"). Without the file, ViT's usual 0.5, stretched. Errors: bad-model, unsupported (another interpolation),
// naming the file.
Result<std::map<std::string, std::string>> read_image_processor(const std::string& folder);

}  // namespace tenon::hf
