#include "hf/weight_source.h"

#include "base/dtype.h"
#include "ir/graph.h"

namespace tenon::hf {
namespace {

std::string modern_name(const std::string& name) {
  for (const auto& [old_end, new_end] :
       {std::pair<std::string_view, std::string_view>{"LayerNorm.gamma", "LayerNorm.weight"},
        {"LayerNorm.beta", "LayerNorm.bias"}}) {
    if (name.ends_with(old_end)) return name.substr(0, name.size() - old_end.size()) + std::string(new_end);
  }
  return name;
}

std::string type_text(DType dtype, const std::vector<int64_t>& shape) {
  return ir::TensorType{dtype, ir::to_shape(shape)}.to_string();
}

}  // namespace

WeightSource::WeightSource(TensorMap tensors) {
  for (auto& [name, tensor] : tensors) entries_.emplace(modern_name(name), Entry{name, std::move(tensor)});
}

bool WeightSource::has_prefix(std::string_view prefix) const {
  const auto it = entries_.lower_bound(prefix);
  return it != entries_.end() && it->first.starts_with(prefix);
}

Weights WeightSource::get(const std::string& name, const std::vector<int64_t>& shape) {
  const bool first_time = used_.insert(name).second;
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    if (first_time) faults_.push_back(fmt::format("{} {} is missing", name, type_text(DType::kF32, shape)));
    return {name, DType::kF32, shape};
  }
  const ir::Tensor& tensor = it->second.tensor;
  if (tensor.shape() != shape || !is_float(tensor.dtype())) {
    if (first_time) {
      faults_.push_back(fmt::format("{} is {} in the file; config.json asks for {}", name,
                                    type_text(tensor.dtype(), tensor.shape()),
                                    type_text(is_float(tensor.dtype()) ? tensor.dtype() : DType::kF32, shape)));
    }
    return {name, DType::kF32, shape};
  }
  // The tensor's own copy keeps the mapped file alive.
  return {it->second.stored_name, tensor.dtype(), shape, tensor.data(), std::make_shared<const ir::Tensor>(tensor)};
}

Status WeightSource::check() const {
  if (faults_.empty()) return {};
  std::string list;
  for (const std::string& fault : faults_) list += "\n  " + fault;
  return error(ErrorCode::kBadModel, "{} weights do not fit config.json:{}", faults_.size(), list);
}

std::vector<std::string> WeightSource::unused() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    const bool buffer = name.ends_with(".position_ids") || name.ends_with(".token_type_ids");
    if (!buffer && !used_.contains(name)) names.push_back(entry.stored_name);
  }
  return names;
}

}  // namespace tenon::hf
