// Runs on zeros when a context is made, so that the first requests find memory allocated and graphs recorded.
#include <algorithm>

#include "base/checked.h"
#include "base/log.h"
#include "runtime/buckets.h"
#include "runtime/context.h"

namespace tenon::runtime {
namespace {

// Ones in so many places of a mask [batch, seq], spread evenly over the rows, each from its beginning.
void fill_mask(ir::Tensor& mask, std::byte* data, int64_t tokens) {
  const int64_t batch = mask.shape()[0], seq = mask.shape()[1];
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t length = std::min(seq, tokens / batch + (row < tokens % batch ? 1 : 0));
    for (int64_t i = 0; i < length; ++i) {
      const int64_t at = row * seq + i;
      switch (mask.dtype()) {
        case DType::kI32: reinterpret_cast<int32_t*>(data)[at] = 1; break;
        case DType::kI64: reinterpret_cast<int64_t*>(data)[at] = 1; break;
        case DType::kF32: reinterpret_cast<float*>(data)[at] = 1; break;
        case DType::kBool: reinterpret_cast<uint8_t*>(data)[at] = 1; break;
        default: break;
      }
    }
  }
}

}  // namespace

// A shape that comes again may get a larger graph than the first time: until nothing new is recorded.
Status Context::run_until_warm() {
  constexpr int kMost = 4;
  for (int i = 0; i < kMost; ++i) {
    const int before = queue_->recorded();
    TENON_TRY(run());
    if (queue_->recorded() == before) break;
  }
  return {};
}

Status Context::warm_shape(const std::vector<std::vector<int64_t>>& shapes, bool all_buckets) {
  std::vector<ir::Tensor> tensors;
  const engine::PlanInput* mask = nullptr;
  size_t mask_at = 0;
  std::byte* mask_data = nullptr;
  for (size_t i = 0; i < plan().inputs.size(); ++i) {
    const engine::PlanInput& input = plan().inputs[i];
    std::byte* data = nullptr;
    TENON_ASSIGN(ir::Tensor zeros, ir::Tensor::allocate(input.type.dtype, shapes[i], &data));
    std::fill_n(data, zeros.bytes(), std::byte{0});
    tensors.push_back(std::move(zeros));
    if (input.role == "attention_mask" && shapes[i].size() == 2) {
      mask = &input;
      mask_at = i;
      mask_data = data;
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    TENON_TRY(inputs_.set(plan().inputs[i].name, {tensors[i].dtype(), tensors[i].shape(), const_cast<std::byte*>(tensors[i].data())}));
  }
  if (mask == nullptr) return run_until_warm();
  const int64_t full = shapes[mask_at][0] * shapes[mask_at][1];
  // The largest first: memory that grows later would make what was recorded before useless.
  for (int64_t tokens = full; tokens > 0; tokens = (tokens - 1) / kLeastBucket * kLeastBucket) {
    if (tokens != full && bucket_end(tokens, kGraphBuckets) != tokens) continue;
    std::fill_n(mask_data, tensors[mask_at].bytes(), std::byte{0});
    fill_mask(tensors[mask_at], mask_data, tokens);
    TENON_TRY(run_until_warm());
    if (!all_buckets || plan().packing_mask_input < 0) break;
  }
  return {};
}

// The shapes of all inputs where the profile gives those of some; empty where it leaves a size open.
std::vector<std::vector<int64_t>> Context::shapes_of(const engine::Profile& profile, bool largest) const {
  std::vector<int64_t> symbols(plan().symbols.size(), 0);
  std::vector<bool> known(symbols.size(), false);
  for (size_t s = 0; s < symbols.size(); ++s) {
    for (const engine::Profile::Range& range : profile.ranges) {
      const int input = executable_->find_input(range.input);
      if (input < 0) continue;
      const ir::Shape& shape = plan().inputs[static_cast<size_t>(input)].type.shape;
      const std::vector<int64_t>& sizes = largest ? range.max : range.opt;
      for (size_t axis = 0; axis < std::min(shape.size(), sizes.size()); ++axis) {
        if (!shape[axis].is_symbol() || shape[axis].to_string() != plan().symbols[s].name) continue;
        symbols[s] = sizes[axis];
        known[s] = true;
      }
    }
  }
  std::vector<std::vector<int64_t>> shapes;
  for (const engine::PlanInput& input : plan().inputs) {
    std::vector<int64_t>& shape = shapes.emplace_back();
    for (const ir::Dim& d : input.type.shape) {
      const int symbol = d.is_symbol() ? executable_->symbol_index(d.to_string()) : -1;
      if (!d.is_const() && (symbol < 0 || !known[static_cast<size_t>(symbol)])) return {};
      shape.push_back(d.is_const() ? d.value() : symbols[static_cast<size_t>(symbol)]);
    }
  }
  return shapes;
}

void Context::warm_up(const ContextOptions& options) {
  if (queue_ == nullptr || options.warm == ContextOptions::Warm::kNone) return;
  const bool all = options.warm == ContextOptions::Warm::kAll;
  for (size_t p = 0; p < plan().profiles.size(); ++p) {
    if (options.profile >= 0 && static_cast<int>(p) != options.profile) continue;
    for (const bool largest : {true, false}) {
      if (largest && !all) continue;
      const auto shapes = shapes_of(plan().profiles[p], largest);
      if (shapes.size() != plan().inputs.size()) continue;
      // Zeros may be what a model cannot take, or the sizes more than there is memory for: requests will tell.
      if (const Status s = warm_shape(shapes, all); !s.ok()) log(LogLevel::kInfo, "warming up: {}", s.message());
    }
  }
  inputs_.clear();
  done_ = false;
}

}  // namespace tenon::runtime
