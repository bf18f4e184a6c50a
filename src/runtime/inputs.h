// The inputs of a context: checked, given defaults where they are absent, unpacked, converted, and bound to symbols.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/cpu/vector_code.h"
#include "runtime/arena.h"
#include "runtime/executable.h"

namespace tenon::runtime {

// True when an input may be left out, because its role gives it a default.
bool has_default(const engine::PlanInput& input);

class Inputs {
 public:
  // `memory_limit`: bytes that one input may need when it is converted or filled in.
  Inputs(const Executable& executable, bool strict, int profile, size_t memory_limit);

  // Errors of the three: bad-input.
  Status set(std::string_view name, const TensorView& tensor);
  Status set_packed(std::string_view name, const TensorView& tensor);
  Status set_row_offsets(std::span<const int32_t> row_offsets);
  void clear();

  // Binds the symbols that inputs define (others are left alone) and evaluates the shapes of inputs. Then checks all
  // shapes, profiles and indices and readies the data. Allocates only when staging memory must grow. Errors: bad-input,
  // out-of-memory.
  Status bind(std::span<int64_t> symbols);

  // After bind: where the data of an input is, never null.
  void* data(int input) const { return items_[static_cast<size_t>(input)].bound; }
  // True when that is in the GPU's memory.
  bool on_device(int input) const {
    const Item& item = items_[static_cast<size_t>(input)];
    return item.source == Source::kPadded && item.on_device != nullptr && item.given == item.on_device;
  }
  // What was given in the GPU's memory; none: the input is on the host or absent.
  std::optional<TensorView> given_on_device(int input) const;
  // For the next bind: a copy of that on the host.
  void use_copy(int input, const void* data) { items_[static_cast<size_t>(input)].given = data; }
  std::span<const int64_t> shape(int input) const { return items_[static_cast<size_t>(input)].expected; }
  // What set_row_offsets gave; empty: inputs are padded.
  std::span<const int32_t> row_offsets() const { return row_offsets_; }
  // An input that came packed; -1: none did.
  int packed_input() const;

 private:
  enum class Source { kAbsent, kPadded, kPacked };
  struct Item {
    Source source = Source::kAbsent;
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;  // as given, for packed inputs as unpacked
    int64_t tokens = 0;          // rows of a packed input
    const void* given = nullptr;
    void* on_device = nullptr;        // given in the GPU's memory, where `given` points too unless it has been copied
    std::vector<DimProgram> program;  // of the declared shape
    std::vector<int> axis_symbol;     // per axis: the symbol that it is; -1: another size
    std::vector<int64_t> expected;    // the declared shape for this run
    Buffer staging;
    void* bound = nullptr;
  };

  const engine::PlanInput& declared(size_t input) const { return executable_.plan().inputs[input]; }
  Status check_tensor(std::string_view name, const TensorView& tensor, int rank, Item** item);
  Status unpack_shapes();
  Status bind_symbols(std::span<int64_t> symbols);
  Status check_shape(size_t input, std::span<const int64_t> symbols);
  Status check_profiles() const;
  bool fits(const engine::Profile& profile) const;
  Status ready(size_t input);
  Status fill_default(size_t input);
  Status convert(size_t input);
  Status check_indices(size_t input) const;
  bool is_masked(int64_t position) const;

  const Executable& executable_;
  const kernels::cpu::VectorCode& code_;
  const bool strict_;
  const int profile_;
  const size_t memory_limit_;
  std::vector<Item> items_;
  std::vector<int> symbol_from_;  // per symbol: the input that gave it in this bind; -1: none yet
  std::vector<int32_t> row_offsets_;
};

}  // namespace tenon::runtime
