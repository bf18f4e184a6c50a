#include "tools/images.h"

#include <csetjmp>
#include <cstdio>  // jpeglib.h does not include what it needs
//
#include <jpeglib.h>
// after jpeglib.h
#include <jerror.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace tenon::tools {
namespace {

Status check_size(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0) return error(ErrorCode::kBadInput, "an image of {} x {} pixels", width, height);
  if (width > static_cast<uint64_t>(kMostPixels) / height)
    return error(ErrorCode::kBadInput, "an image of {} x {} pixels; at most {} are read", width, height, kMostPixels);
  return {};
}

// libjpeg reports errors by a jump.
struct JpegReader {
  jpeg_decompress_struct decoder;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf failed;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  info->err->format_message(info, reader->message);
  std::longjmp(reader->failed, 1);
}

// Of the warnings those that mean missing data are errors: the rest of the picture would be made up.
void warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  const int code = info->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) fail(info);
}

// A progressive file may name thousands of scans over all pixels.
void watch(j_common_ptr info) {
  constexpr int kMostScans = 200;
  auto* reader = static_cast<JpegReader*>(info->client_data);
  if (info->is_decompressor == 0 || reader->decoder.input_scan_number <= kMostScans) return;
  std::snprintf(reader->message, sizeof reader->message, "more than %d scans", kMostScans);
  std::longjmp(reader->failed, 1);
}

// Nothing with a destructor lives here: errors jump out. `size` is what check_size says.
bool decode_jpeg(JpegReader& reader, std::span<const uint8_t> file, Image& image, Status& size) {
  jpeg_decompress_struct& decoder = reader.decoder;
  if (setjmp(reader.failed) != 0) return false;
  jpeg_create_decompress(&decoder);
  decoder.progress = &reader.progress;
  jpeg_mem_src(&decoder, file.data(), static_cast<unsigned long>(file.size()));
  jpeg_read_header(&decoder, TRUE);
  size = check_size(decoder.image_width, decoder.image_height);
  if (!size.ok()) return false;
  decoder.out_color_space = JCS_RGB;
  jpeg_start_decompress(&decoder);
  image.width = decoder.output_width;
  image.height = decoder.output_height;
  image.pixels.resize(static_cast<size_t>(image.width * image.height * 3));
  while (decoder.output_scanline < decoder.output_height) {
    JSAMPROW row = image.pixels.data() + size_t{decoder.output_scanline} * static_cast<size_t>(image.width) * 3;
    jpeg_read_scanlines(&decoder, &row, 1);
  }
  jpeg_finish_decompress(&decoder);
  return true;
}

Result<Image> read_jpeg(std::span<const uint8_t> file) {
  JpegReader reader{};
  reader.decoder.client_data = &reader;
  reader.decoder.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = fail;
  reader.errors.emit_message = warn;
  reader.progress.progress_monitor = watch;
  Image image;
  Status size;
  const bool complete = decode_jpeg(reader, file, image, size);
  const bool four_inks = reader.decoder.jpeg_color_space == JCS_CMYK || reader.decoder.jpeg_color_space == JCS_YCCK;
  jpeg_destroy_decompress(&reader.decoder);
  if (complete) return image;
  TENON_TRY(size);
  if (four_inks) return error(ErrorCode::kUnsupported, "a JPEG of four inks (CMYK); convert it to RGB");
  return error(ErrorCode::kBadInput, "a damaged JPEG: {}", reader.message);
}

Result<Image> read_png(std::span<const uint8_t> file) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const auto failed = [&] {
    Status status = error(ErrorCode::kBadInput, "a damaged PNG: {}", png.message);
    png_image_free(&png);
    return status;
  };
  if (png_image_begin_read_from_memory(&png, file.data(), file.size()) == 0) return failed();
  if (Status s = check_size(png.width, png.height); !s.ok()) {
    png_image_free(&png);
    return s;
  }
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  png.format = PNG_FORMAT_RGBA;  // with PNG_FORMAT_RGB libpng would blend with a background
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(png));
  if (png_image_finish_read(&png, nullptr, pixels.data(), 0, nullptr) == 0) return failed();
  Image image{png.width, png.height, {}};
  image.pixels.resize(pixels.size() / 4 * 3);
  for (size_t i = 0; i < pixels.size() / 4; ++i) std::memcpy(&image.pixels[3 * i], &pixels[4 * i], 3);
  return image;
}

// Which pixels of a row make one pixel of a resized row, and their weights.
struct Taps {
  int64_t first = 0;
  std::vector<float> weights;
};

double filter(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::kBilinear) return std::max(0.0, 1 - x);
  constexpr double a = -0.5;  // Keys, 1981
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// What is computed of an axis of a resized image: [begin, end) of `size`.
struct Part {
  int64_t size = 0, begin = 0, end = 0;
};

std::vector<Taps> taps_of(int64_t from, const Part& to, Interpolation interpolation) {
  const double scale = static_cast<double>(from) / static_cast<double>(to.size), widened = std::max(scale, 1.0);
  const double reach = (interpolation == Interpolation::kBilinear ? 1 : 2) * widened;
  std::vector<Taps> all;
  for (int64_t i = to.begin; i < to.end; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(centre - reach + 0.5));
    const int64_t end = std::min<int64_t>(from, static_cast<int64_t>(centre + reach + 0.5));
    Taps& taps = all.emplace_back(Taps{first, {}});
    double sum = 0;
    std::vector<double> weights;
    for (int64_t k = first; k < end; ++k) {
      weights.push_back(filter(interpolation, (static_cast<double>(k) + 0.5 - centre) / widened));
      sum += weights.back();
    }
    for (const double w : weights) taps.weights.push_back(static_cast<float>(w / sum));
  }
  return all;
}

uint8_t rounded(float v) { return static_cast<uint8_t>(std::clamp(v + 0.5f, 0.0f, 255.0f)); }

Image resize_rows(const Image& image, const std::vector<Taps>& taps) {
  const auto width = static_cast<int64_t>(taps.size());
  Image out{width, image.height, std::vector<uint8_t>(static_cast<size_t>(width * image.height * 3))};
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels.data() + y * image.width * 3;
    uint8_t* to = out.pixels.data() + y * width * 3;
    for (const Taps& t : taps) {
      float sums[3] = {};
      const uint8_t* from = row + t.first * 3;
      for (const float w : t.weights) {
        for (int c = 0; c < 3; ++c) sums[c] += w * static_cast<float>(*from++);
      }
      for (const float sum : sums) *to++ = rounded(sum);
    }
  }
  return out;
}

Image resize_columns(const Image& image, const std::vector<Taps>& taps) {
  const auto row = static_cast<size_t>(image.width * 3);
  Image out{image.width, static_cast<int64_t>(taps.size()), std::vector<uint8_t>(row * taps.size())};
  std::vector<float> sums(row);
  for (size_t y = 0; y < taps.size(); ++y) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    const uint8_t* from = image.pixels.data() + static_cast<size_t>(taps[y].first) * row;
    for (const float w : taps[y].weights) {
      for (size_t i = 0; i < row; ++i) sums[i] += w * static_cast<float>(from[i]);
      from += row;
    }
    std::transform(sums.begin(), sums.end(), out.pixels.begin() + static_cast<std::ptrdiff_t>(y * row), rounded);
  }
  return out;
}

Image resize_part(const Image& image, const Part& columns, const Part& rows, Interpolation interpolation) {
  return resize_columns(resize_rows(image, taps_of(image.width, columns, interpolation)),
                        taps_of(image.height, rows, interpolation));
}

}  // namespace

Result<Image> decode_image(std::span<const uint8_t> file) {
  constexpr uint8_t kJpeg[] = {0xff, 0xd8, 0xff}, kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto begins_with = [&](std::span<const uint8_t> magic) {
    return file.size() >= magic.size() && std::equal(magic.begin(), magic.end(), file.begin());
  };
  if (begins_with(kJpeg)) return read_jpeg(file);
  if (begins_with(kPng)) return read_png(file);
  return error(ErrorCode::kUnsupported, "neither a JPEG nor a PNG file");
}

Result<Image> read_image(const std::string& path) {
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed)) return error(ErrorCode::kNotFound, "{}: no such file", path);
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) return error(ErrorCode::kIo, "{}: cannot be read", path);
  Result<Image> image = decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!image.ok()) return image.status().with_context(path);
  return image;
}

Image resize_image(const Image& image, int64_t width, int64_t height, Interpolation interpolation) {
  return resize_part(image, {width, 0, width}, {height, 0, height}, interpolation);
}

void prepare_image(const Image& image, const Preparation& how, int64_t width, int64_t height, bool channels_last,
                   float* out) {
  int64_t to_width = width, to_height = height;
  if (!how.stretch) {
    const int64_t side = how.short_side > 0 ? how.short_side : std::min(width, height) * 8 / 7;
    const bool upright = image.height > image.width;
    to_width = upright ? side : side * image.width / image.height;
    to_height = upright ? side * image.height / image.width : side;
  }
  // The centre; it begins before the image where that is smaller.
  const auto first = [](int64_t whole, int64_t part) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(whole - part) / 2));
  };
  const int64_t left = first(to_width, width), top = first(to_height, height);
  const Part columns{to_width, std::max<int64_t>(left, 0), std::min(left + width, to_width)};
  const Part rows{to_height, std::max<int64_t>(top, 0), std::min(top + height, to_height)};
  const Image resized = resize_part(image, columns, rows, how.interpolation);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const int64_t from_x = x + left, from_y = y + top;
      const bool inside = from_x >= columns.begin && from_x < columns.end && from_y >= rows.begin && from_y < rows.end;
      const int64_t from = ((from_y - rows.begin) * resized.width + from_x - columns.begin) * 3;
      for (int64_t c = 0; c < 3; ++c) {
        const double value = inside ? resized.pixels[static_cast<size_t>(from + c)] : 0;
        const auto channel = static_cast<size_t>(c);
        const int64_t at = channels_last ? (y * width + x) * 3 + c : (c * height + y) * width + x;
        out[at] = static_cast<float>((value / 255 - how.mean[channel]) / how.deviation[channel]);
      }
    }
  }
}

}  // namespace tenon::tools
