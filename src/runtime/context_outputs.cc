// What a context gives back: outputs, padded or packed, on the host or left on the device, and values that were kept.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "runtime/context.h"

namespace tenon::runtime {

void Context::find_unneeded_downloads(bool outputs_on_device) {
  skipped_.assign(plan().steps.size(), false);
  for (const engine::PlanOutput& out : plan().outputs) output_values_.push_back(out.value);
  if (!outputs_on_device || queue_ == nullptr) return;
  std::vector<bool> needed(plan().values.size(), false);  // on the host
  for (const engine::PlanStep& step : plan().steps)
    for (int v : step.inputs)
      if (v >= 0) needed[static_cast<size_t>(engine::root_of(plan(), v))] = true;
  for (const engine::PlanSymbol& s : plan().symbols)
    if (s.value >= 0) needed[static_cast<size_t>(engine::root_of(plan(), s.value))] = true;
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    const engine::PlanStep& step = plan().steps[i];
    const bool downloads = step.op == ir::Op::k_copy && value(step.outputs[0]).place == engine::Place::kHost;
    if (!downloads || std::ranges::any_of(step.outputs, [&](int v) { return needed[static_cast<size_t>(v)]; })) continue;
    skipped_[i] = true;
    for (int& v : output_values_) {
      const auto copied = std::ranges::find(step.outputs, v);
      if (copied != step.outputs.end()) v = step.inputs[static_cast<size_t>(copied - step.outputs.begin())];
    }
  }
}

Status Context::set_output(std::string_view name, const TensorView& buffer) {
  const int index = executable_->find_output(name);
  if (index < 0) return error(ErrorCode::kNotFound, "the engine has no output \"{}\"", name);
  const DType dtype = value(plan().outputs[static_cast<size_t>(index)].value).type.dtype;
  if (buffer.data != nullptr && buffer.dtype != dtype) return error(ErrorCode::kBadInput, "output \"{}\" is {}, the buffer {}", name, dtype_name(dtype), dtype_name(buffer.dtype));
  output_buffers_[static_cast<size_t>(index)] = buffer;
  return {};
}

Status Context::copy_outputs() {
  for (size_t i = 0; i < output_buffers_.size(); ++i) {
    const TensorView& buffer = output_buffers_[i];
    if (buffer.data == nullptr) continue;
    const TensorView made = view(output_values_[i]);
    if (buffer.shape != made.shape) {
      return error(ErrorCode::kBadInput, "the buffer for output \"{}\" does not have its shape {}", plan().outputs[i].name,
                   ir::to_string(value(plan().outputs[i].value).type.shape));
    }
    const size_t bytes = bytes_[static_cast<size_t>(plan().outputs[i].value)];
    if (!buffer.on_device && !made.on_device) {
      if (bytes > 0) std::memcpy(buffer.data, made.data, bytes);
    } else if (queue_ != nullptr) {
      TENON_TRY(queue_->copy(buffer.data, made.data, bytes));
    } else {
      return error(ErrorCode::kBadInput, "the buffer for output \"{}\" is on a device, the engine runs on the host", plan().outputs[i].name);
    }
  }
  return queue_ != nullptr ? queue_->wait() : Status();
}

// With the sizes of this run, also where the device's memory has room for more.
TensorView Context::view(int id) const {
  const auto exact = std::span(sizes_).subspan(executable_->shape_of(id), value(id).type.shape.size());
  const bool on_device = value(id).place == engine::Place::kDevice;
  return {value(id).type.dtype, {exact.begin(), exact.end()}, data_[static_cast<size_t>(id)], on_device};
}

Result<TensorView> Context::output(std::string_view name) const {
  const int index = executable_->find_output(name);
  if (index < 0) return error(ErrorCode::kNotFound, "the engine has no output \"{}\"", name);
  if (!done_) return error(ErrorCode::kInvalidArgument, "output \"{}\" is read before a run has succeeded", name);
  return view(output_values_[static_cast<size_t>(index)]);
}

Result<TensorView> Context::packed_output(std::string_view name) {
  TENON_ASSIGN(const TensorView padded, output(name));
  if (padded.on_device) return error(ErrorCode::kInvalidArgument, "packed outputs are read on the host, \"{}\" stays on the device", name);
  const auto offsets = inputs_.row_offsets();
  const auto index = static_cast<size_t>(executable_->find_output(name));
  const int input = inputs_.packed_input();
  if (input < 0 || offsets.empty()) return error(ErrorCode::kInvalidArgument, "packed outputs need packed inputs");
  const ir::Shape& axes = plan().inputs[static_cast<size_t>(input)].type.shape;  // [batch, seq, …]
  const ir::Shape& declared = value(plan().outputs[index].value).type.shape;
  if (declared.size() < 2 || declared[0] != axes[0] || declared[1] != axes[1]) {
    return error(ErrorCode::kInvalidArgument, "output \"{}\" {} has no rows per token", name, ir::to_string(declared));
  }
  const int64_t seq = padded.shape[1];
  TensorView packed{padded.dtype, {padded.shape.begin() + 1, padded.shape.end()}, nullptr};
  packed.shape[0] = offsets.back();
  // The rows before they were unpacked, unless the engine kept others besides.
  const int rows = plan().outputs[index].packed_value, own = plan().row_offsets_value;
  if (rows >= 0 && std::ranges::equal(std::span(static_cast<const int32_t*>(data_[static_cast<size_t>(own)]), static_cast<size_t>(shape(own)[0])), offsets)) {
    packed.data = data_[static_cast<size_t>(rows)];
    return packed;
  }
  size_t row_bytes = dtype_size(padded.dtype);
  for (size_t axis = 2; axis < padded.shape.size(); ++axis) row_bytes *= static_cast<size_t>(padded.shape[axis]);
  Buffer& buffer = packed_outputs_[index];
  TENON_TRY(buffer.reserve(row_bytes * static_cast<size_t>(offsets.back()), memory_limit_));
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    const auto begin = static_cast<size_t>(offsets[b]), count = static_cast<size_t>(offsets[b + 1] - offsets[b]);
    std::memcpy(buffer.data() + begin * row_bytes, static_cast<const std::byte*>(padded.data) + b * static_cast<size_t>(seq) * row_bytes, count * row_bytes);
  }
  packed.data = buffer.data();
  return packed;
}

Result<TensorView> Context::kept(std::string_view name) {
  const int v = executable_->find_value(name);
  const bool is_kept = v >= 0 && is_kept_[static_cast<size_t>(v)];
  if (!is_kept) return error(ErrorCode::kNotFound, "the context does not keep a value \"{}\"", name);
  if (!done_) return error(ErrorCode::kInvalidArgument, "value \"{}\" is read before a run has succeeded", name);
  if (value(v).place == engine::Place::kHost) return view(v);
  TensorView copy = view(v);
  const size_t bytes = static_cast<size_t>(checked_numel(copy.shape).value_or(0)) * dtype_size(copy.dtype);
  Buffer& host = kept_copies_[v];
  TENON_TRY(host.reserve(bytes, memory_limit_));
  TENON_TRY(queue_->copy(host.data(), copy.data, bytes));
  TENON_TRY(queue_->wait());
  copy.data = host.data();
  copy.on_device = false;
  return copy;
}

}  // namespace tenon::runtime
