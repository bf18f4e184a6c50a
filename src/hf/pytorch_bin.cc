#include "hf/pytorch_bin.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "hf/pickle.h"
#include "hf/zip.h"

namespace tenon::hf {
namespace {

using Bytes = std::span<const std::byte>;

// One past the last element that a view reads; nothing when it makes no sense.
std::optional<int64_t> view_end(const PickledTensor& view, int64_t count) {
  if (view.offset < 0 || view.shape.size() != view.strides.size()) return std::nullopt;
  if (count == 0) return view.offset;
  std::optional<int64_t> last = view.offset;
  for (size_t i = 0; i < view.shape.size() && last; ++i) {
    const auto step = view.strides[i] < 0 ? std::nullopt : checked_mul(view.shape[i] - 1, view.strides[i]);
    last = step ? checked_add(*last, *step) : std::nullopt;
  }
  return last ? checked_add(*last, 1) : std::nullopt;
}

bool is_contiguous(const PickledTensor& view) {
  int64_t expected = 1;
  for (size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] != 1 && view.strides[i] != expected) return false;
    expected *= view.shape[i];
  }
  return true;
}

// The elements of a view in row-major order.
Result<ir::Tensor> gather_view(const PickledTensor& view, const std::byte* storage, int64_t count) {
  std::byte* out = nullptr;
  TENON_ASSIGN(ir::Tensor tensor, ir::Tensor::allocate(view.dtype, view.shape, &out));
  const size_t size = dtype_size(view.dtype);
  std::vector<int64_t> index(view.shape.size(), 0);
  for (int64_t n = 0; n < count; ++n, out += size) {
    int64_t at = view.offset;
    for (size_t i = 0; i < index.size(); ++i) at += index[i] * view.strides[i];
    std::memcpy(out, storage + static_cast<size_t>(at) * size, size);
    for (size_t i = index.size(); i-- > 0 && ++index[i] == view.shape[i];) index[i] = 0;
  }
  return tensor;
}

Result<ir::Tensor> tensor_of(const PickledTensor& view, Bytes storage, const std::shared_ptr<const void>& owner) {
  const size_t size = dtype_size(view.dtype);
  const auto elements = static_cast<int64_t>(storage.size() / size);
  const auto count = checked_numel(view.shape);
  const auto end = count ? view_end(view, *count) : std::nullopt;
  if (!end || *end > elements || view.storage_numel > elements) {
    return error(ErrorCode::kBadModel, "its view lies outside its storage of {} elements", elements);
  }
  // A repeated (expanded) view could ask for any amount of memory.
  if (*count > elements) return error(ErrorCode::kUnsupported, "its view repeats elements of its storage");
  const std::byte* data = storage.data() + static_cast<size_t>(view.offset) * size;
  if (*count == 0) return ir::Tensor(view.dtype, view.shape);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size == 0;
  if (aligned && is_contiguous(view)) return ir::Tensor(view.dtype, view.shape, owner, data);
  return gather_view(view, storage.data(), *count);
}

}  // namespace

Result<TensorMap> parse_pytorch_bin(Bytes bytes, std::shared_ptr<const void> owner, const std::string& file) {
  constexpr std::string_view kZip = "PK", kPickleName = "data.pkl";
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 2));
  if (start.starts_with('\x80')) {
    return error(ErrorCode::kUnsupported,
                 "{}: the format before PyTorch 1.6; load it there and save it again, best as safetensors", file);
  }
  if (start != kZip) return error(ErrorCode::kBadModel, "{}: no PyTorch checkpoint", file);
  auto entries = read_zip(bytes);
  if (!entries.ok()) return entries.status().with_context(file);

  const auto pickle =
      std::find_if(entries->begin(), entries->end(), [&](const auto& e) { return e.first.ends_with("/data.pkl"); });
  if (pickle == entries->end()) return error(ErrorCode::kBadModel, "{}: the archive has no data.pkl", file);
  const std::string folder = pickle->first.substr(0, pickle->first.size() - kPickleName.size());
  if (const auto order = entries->find(folder + "byteorder"); order != entries->end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    if (text != "little")
      return error(ErrorCode::kUnsupported, "{}: byte order '{}' is not supported", file, text.substr(0, 16));
  }
  auto views = unpickle_state_dict(pickle->second);
  if (!views.ok()) return views.status().with_context(file);

  TensorMap tensors;
  for (const PickledTensor& view : *views) {
    const std::string where = fmt::format("{}: tensor '{}'", file, view.name);
    const auto storage = entries->find(folder + "data/" + view.storage);
    if (storage == entries->end())
      return error(ErrorCode::kBadModel, "{}: its storage '{}' is missing", where, view.storage);
    auto tensor = tensor_of(view, storage->second, owner);
    if (!tensor.ok()) return tensor.status().with_context(where);
    if (!tensors.emplace(view.name, std::move(*tensor)).second)
      return error(ErrorCode::kBadModel, "{}: given twice", where);
  }
  return tensors;
}

Result<TensorMap> read_pytorch_bin(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return parse_pytorch_bin(file->bytes(), file, path);
}

}  // namespace tenon::hf
