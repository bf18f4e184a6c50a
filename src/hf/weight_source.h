// The tensors of a checkpoint as they are asked for by name and shape: keeps account of what is missing, of another
// shape, or never used.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hf/safetensors.h"
#include "tenon/network.h"

namespace tenon::hf {

class WeightSource {
 public:
  // Names of before 2019 ("LayerNorm.gamma", "LayerNorm.beta") are known by today's too.
  explicit WeightSource(TensorMap tensors);

  bool has(std::string_view name) const { return entries_.contains(name); }
  bool has_prefix(std::string_view prefix) const;
  // The tensor as weights that share its bytes, under the name that the file gives it. One that is missing or has
  // another shape is returned without data and reported by check().
  Weights get(const std::string& name, const std::vector<int64_t>& shape);
  // A tensor that is known to be of no use here.
  void ignore(const std::string& name) { used_.insert(name); }

  // Errors: bad-model, with every weight that was asked for in vain.
  Status check() const;
  // Names that nobody asked for; buffers that older versions stored (position_ids) do not count.
  std::vector<std::string> unused() const;

 private:
  struct Entry {
    std::string stored_name;
    ir::Tensor tensor;
  };
  std::map<std::string, Entry, std::less<>> entries_;
  std::set<std::string> used_;
  std::vector<std::string> faults_;
};

}  // namespace tenon::hf
