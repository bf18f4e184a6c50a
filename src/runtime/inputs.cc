#include "runtime/inputs.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/ranges.h>

#include "base/checked.h"
#include "base/log.h"

namespace tenon::runtime {
namespace {

template <class... Args>
Status bad(fmt::format_string<Args...> format, Args&&... args) {
  return Status(ErrorCode::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

// Roles whose absence has a meaning.
const char* default_of(std::string_view role) {
  if (role == "attention_mask") return "ones";
  if (role == "token_type_ids") return "zeros";
  if (role == "position_ids") return "0, 1, 2 …";
  return nullptr;
}

bool is_convertible(DType from, DType to) {
  const auto index = [](DType t) { return t == DType::kI32 || t == DType::kI64; };
  return from == to || (index(from) && index(to));
}

// Copies `count` elements, converting between i32 and i64. Returns the first that does not fit, or count.
int64_t copy_elements(const void* from, DType from_type, void* to, DType to_type, int64_t count) {
  if (from_type == to_type) {
    if (count > 0) std::memcpy(to, from, static_cast<size_t>(count) * dtype_size(to_type));
    return count;
  }
  const auto element = [&]<class T>(int64_t i) {  // the caller's memory may be unaligned
    T v;
    std::memcpy(&v, static_cast<const std::byte*>(from) + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return v;
  };
  if (from_type == DType::kI32) {
    for (int64_t i = 0; i < count; ++i) static_cast<int64_t*>(to)[i] = element.template operator()<int32_t>(i);
    return count;
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto v = element.template operator()<int64_t>(i);
    if (v < std::numeric_limits<int32_t>::min() || v > std::numeric_limits<int32_t>::max()) return i;
    static_cast<int32_t*>(to)[i] = static_cast<int32_t>(v);
  }
  return count;
}

// "row 3, column 17", or the index where the tensor has another rank.
std::string position_text(std::span<const int64_t> shape, int64_t index) {
  if (shape.size() == 2) return fmt::format("row {}, column {}", index / shape[1], index % shape[1]);
  return fmt::format("element {}", index);
}

int64_t numel(std::span<const int64_t> shape) { return checked_numel(shape).value_or(0); }

}  // namespace

bool has_default(const engine::PlanInput& input) { return default_of(input.role) != nullptr && input.type.rank() == 2; }

Inputs::Inputs(const Executable& executable, bool strict, int profile, size_t memory_limit)
    : executable_(executable), code_(kernels::cpu::vector_code(kernels::cpu::chosen_isa())), strict_(strict), profile_(profile), memory_limit_(memory_limit) {
  const auto index_of = [&](std::string_view name) { return executable.symbol_index(name); };
  for (const engine::PlanInput& in : executable.plan().inputs) {
    Item& item = items_.emplace_back();
    for (const ir::Dim& d : in.type.shape) {
      item.axis_symbol.push_back(d.is_symbol() ? index_of(d.to_string()) : -1);
      item.program.push_back(std::move(DimProgram::compile(d, index_of)).value());  // checked when the engine was loaded
    }
    item.shape.reserve(in.type.shape.size());
    item.expected.resize(in.type.shape.size());
  }
  symbol_from_.resize(executable.plan().symbols.size());
}

Status Inputs::check_tensor(std::string_view name, const TensorView& tensor, int packed_axes, Item** found) {
  const int index = executable_.find_input(name);
  if (index < 0) {
    std::string names;
    for (const auto& in : executable_.plan().inputs) names += (names.empty() ? "" : ", ") + in.name;
    return bad("the engine has no input \"{}\"; it has {}", name, names);
  }
  const engine::PlanInput& in = declared(static_cast<size_t>(index));
  if (!is_convertible(tensor.dtype, in.type.dtype)) return bad("input \"{}\" is {}, {} expected", name, dtype_name(tensor.dtype), dtype_name(in.type.dtype));
  const int rank = in.type.rank() - packed_axes;
  if (static_cast<int>(tensor.shape.size()) != rank) {
    return bad("input \"{}\" has shape {}, {} of rank {} expected", name, shape_text(tensor.shape), ir::to_string(in.type.shape), rank);
  }
  const auto count = checked_numel(tensor.shape);
  if (!count || (*count > 0 && tensor.data == nullptr)) return bad("input \"{}\" with shape {} has no data", name, shape_text(tensor.shape));
  *found = &items_[static_cast<size_t>(index)];
  return {};
}

Status Inputs::set(std::string_view name, const TensorView& tensor) {
  Item* item = nullptr;
  TENON_TRY(check_tensor(name, tensor, 0, &item));
  if (tensor.on_device) {
    const DType want = declared(static_cast<size_t>(item - items_.data())).type.dtype;
    if (is_float(want) && tensor.dtype != want) return bad("input \"{}\" is {} in the GPU's memory; floats are not converted there, {} is expected", name, dtype_name(tensor.dtype), dtype_name(want));
    if (reinterpret_cast<uintptr_t>(tensor.data) % 16 != 0) return bad("input \"{}\" is not at a multiple of 16 bytes in the GPU's memory", name);
  }
  item->on_device = tensor.on_device ? tensor.data : nullptr;
  item->source = Source::kPadded;
  item->dtype = tensor.dtype;
  item->shape.assign(tensor.shape.begin(), tensor.shape.end());
  item->given = tensor.data;
  return {};
}

Status Inputs::set_packed(std::string_view name, const TensorView& tensor) {
  Item* item = nullptr;
  TENON_TRY(check_tensor(name, tensor, 1, &item));
  if (tensor.on_device) return bad("input \"{}\" is packed and in the GPU's memory: packed rows are read on the host", name);
  if (tensor.shape.empty()) return bad("input \"{}\" has no axes [batch, seq] that rows could be packed along", name);
  item->source = Source::kPacked;
  item->on_device = nullptr;
  item->dtype = tensor.dtype;
  item->tokens = tensor.shape[0];
  item->shape.assign({0, 0});  // batch and seq come from the row offsets
  item->shape.insert(item->shape.end(), tensor.shape.begin() + 1, tensor.shape.end());
  item->given = tensor.data;
  return {};
}

std::optional<TensorView> Inputs::given_on_device(int input) const {
  const Item& item = items_[static_cast<size_t>(input)];
  if (item.source != Source::kPadded || item.on_device == nullptr) return std::nullopt;
  return TensorView{.dtype = item.dtype, .shape = item.shape, .data = item.on_device, .on_device = true};
}

Status Inputs::set_row_offsets(std::span<const int32_t> row_offsets) {
  if (row_offsets.empty() || row_offsets[0] != 0) return bad("row offsets must begin with 0");
  for (size_t i = 1; i < row_offsets.size(); ++i)
    if (row_offsets[i] < row_offsets[i - 1]) return bad("row offset {} is {}, less than the one before it", i, row_offsets[i]);
  row_offsets_.assign(row_offsets.begin(), row_offsets.end());
  return {};
}

void Inputs::clear() {
  for (Item& item : items_) item.source = Source::kAbsent;
  row_offsets_.clear();
}

int Inputs::packed_input() const {
  const auto it = std::ranges::find(items_, Source::kPacked, &Item::source);
  return it == items_.end() ? -1 : static_cast<int>(it - items_.begin());
}

Status Inputs::bind(std::span<int64_t> symbols) {
  TENON_TRY(unpack_shapes());
  TENON_TRY(bind_symbols(symbols));
  for (size_t i = 0; i < items_.size(); ++i) TENON_TRY(check_shape(i, symbols));
  TENON_TRY(check_profiles());
  // Masks first: positions that they hide may hold any index.
  const int mask = executable_.plan().packing_mask_input;
  if (mask >= 0) TENON_TRY(ready(static_cast<size_t>(mask)));
  for (size_t i = 0; i < items_.size(); ++i) {
    if (static_cast<int>(i) != mask) TENON_TRY(ready(i));
    TENON_TRY(check_indices(i));
  }
  return {};
}

// Gives packed inputs the shape that they will have on [batch, seq].
Status Inputs::unpack_shapes() {
  const bool any = std::any_of(items_.begin(), items_.end(), [](const Item& i) { return i.source == Source::kPacked; });
  if (row_offsets_.empty()) return any ? bad("packed inputs need row offsets") : Status();
  const auto batch = static_cast<int64_t>(row_offsets_.size()) - 1;
  int64_t seq = 0;
  bool padded = false;
  for (size_t b = 1; b < row_offsets_.size(); ++b) seq = std::max<int64_t>(seq, row_offsets_[b] - row_offsets_[b - 1]);
  for (size_t b = 1; b < row_offsets_.size(); ++b) padded |= row_offsets_[b] - row_offsets_[b - 1] != seq;
  bool has_mask = false;
  for (size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    has_mask |= declared(i).role == "attention_mask";
    if (item.source != Source::kPacked) continue;
    if (item.tokens != row_offsets_.back()) return bad("input \"{}\" has {} rows, the row offsets end at {}", declared(i).name, item.tokens, row_offsets_.back());
    item.shape[0] = batch;
    item.shape[1] = seq;
  }
  if (padded && !has_mask) return bad("rows of different lengths need a model with an attention mask, which this engine has not");
  return {};
}

Status Inputs::bind_symbols(std::span<int64_t> symbols) {
  std::fill(symbol_from_.begin(), symbol_from_.end(), -1);
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.source == Source::kAbsent) continue;
    for (size_t axis = 0; axis < item.shape.size(); ++axis) {
      const int symbol = item.axis_symbol[axis];
      if (symbol < 0 || symbol_from_[static_cast<size_t>(symbol)] >= 0) continue;
      symbol_from_[static_cast<size_t>(symbol)] = static_cast<int>(i);
      symbols[static_cast<size_t>(symbol)] = item.shape[axis];
    }
  }
  // An absent mask of a packed batch has the batch's sizes, whether or not another input has the same symbols.
  for (size_t s = 0; s < symbol_from_.size(); ++s) {
    const engine::PlanSymbol& symbol = executable_.plan().symbols[s];
    if (symbol.input < 0 || symbol_from_[s] >= 0) continue;
    return bad("input \"{}\" is missing", declared(static_cast<size_t>(symbol.input)).name);
  }
  for (size_t s = 0; s < symbol_from_.size(); ++s) {
    const engine::PlanSymbol& symbol = executable_.plan().symbols[s];
    if (symbol.input < 0 || symbol.limit <= 0 || symbols[s] <= symbol.limit) continue;
    return bad("input \"{}\" has {} = {}, but the model takes at most {}: its tables, of positions for example, end there",
               declared(static_cast<size_t>(symbol_from_[s])).name, symbol.name, symbols[s], symbol.limit);
  }
  return {};
}

Status Inputs::check_shape(size_t input, std::span<const int64_t> symbols) {
  Item& item = items_[input];
  for (size_t axis = 0; axis < item.expected.size(); ++axis) {
    const auto size = item.program[axis].evaluate(symbols);
    if (!size || *size < 0) return bad("the sizes of input \"{}\" are too large or negative", declared(input).name);
    item.expected[axis] = *size;
  }
  const auto count = checked_numel(item.expected);
  if (!count || !checked_mul(*count, 8)) return bad("input \"{}\" is too large", declared(input).name);
  if (item.source == Source::kAbsent || std::equal(item.shape.begin(), item.shape.end(), item.expected.begin())) return {};
  std::string from;
  for (size_t axis = 0; axis < item.shape.size(); ++axis) {
    const int symbol = item.axis_symbol[axis];
    if (symbol < 0 || item.shape[axis] == item.expected[axis]) continue;
    from += fmt::format("; {} = {} comes from input \"{}\"", executable_.plan().symbols[static_cast<size_t>(symbol)].name, item.expected[axis],
                        declared(static_cast<size_t>(symbol_from_[static_cast<size_t>(symbol)])).name);
  }
  return bad("input \"{}\" has shape {}, expected {} = {}{}", declared(input).name, shape_text(item.shape), ir::to_string(declared(input).type.shape),
             shape_text(item.expected), from);
}

bool Inputs::fits(const engine::Profile& profile) const {
  return std::all_of(profile.ranges.begin(), profile.ranges.end(), [&](const engine::Profile::Range& r) {
    const Item& item = items_[static_cast<size_t>(executable_.find_input(r.input))];
    for (size_t axis = 0; axis < item.expected.size(); ++axis)
      if (item.expected[axis] < r.min[axis] || item.expected[axis] > r.max[axis]) return false;
    return true;
  });
}

Status Inputs::check_profiles() const {
  const auto& profiles = executable_.plan().profiles;
  const bool fine = profiles.empty() || (profile_ >= 0 ? fits(profiles[static_cast<size_t>(profile_)])
                                                       : std::any_of(profiles.begin(), profiles.end(), [&](const auto& p) { return fits(p); }));
  if (fine) return {};
  std::string allowed;
  for (size_t p = 0; p < profiles.size(); ++p) {
    if (profile_ >= 0 && p != static_cast<size_t>(profile_)) continue;
    for (const auto& r : profiles[p].ranges) {
      const Item& item = items_[static_cast<size_t>(executable_.find_input(r.input))];
      allowed += fmt::format("; profile {} allows \"{}\" {} to {}, it has {}", p, r.input, shape_text(r.min), shape_text(r.max), shape_text(item.expected));
    }
  }
  return bad("no profile of the engine fits these inputs{}", allowed);
}

Status Inputs::ready(size_t input) {
  Item& item = items_[input];
  if (item.source == Source::kAbsent) return fill_default(input);
  const DType want = declared(input).type.dtype;
  const bool usable = item.given != nullptr && reinterpret_cast<uintptr_t>(item.given) % dtype_size(want) == 0;
  if (item.source == Source::kPadded && item.dtype == want && usable) {
    item.bound = const_cast<void*>(item.given);  // kernels do not write to inputs
    return {};
  }
  return convert(input);
}

Status Inputs::fill_default(size_t input) {
  Item& item = items_[input];
  const engine::PlanInput& in = declared(input);
  const char* meaning = default_of(in.role);
  if (!has_default(in)) return bad("input \"{}\" is missing", in.name);
  const bool from_offsets = in.role == "attention_mask" && !row_offsets_.empty();
  if (!from_offsets) {
    if (strict_) return bad("input \"{}\" is missing (it would be taken as {}; strict runs refuse that)", in.name, meaning);
    if (executable_.first_time(static_cast<int>(input))) log(LogLevel::kWarn, "input \"{}\" is missing, taken as {}", in.name, meaning);
  }
  const int64_t batch = item.expected[0], seq = item.expected[1];
  if (from_offsets && batch != static_cast<int64_t>(row_offsets_.size()) - 1) return bad("the row offsets are of another batch than the inputs");
  TENON_TRY(item.staging.reserve(static_cast<size_t>(batch * seq) * dtype_size(in.type.dtype), memory_limit_));
  item.bound = item.staging.data();
  visit_dtype(in.type.dtype, [&]<class T>() {
    T* out = reinterpret_cast<T*>(item.staging.data());
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t length = from_offsets ? row_offsets_[static_cast<size_t>(b) + 1] - row_offsets_[static_cast<size_t>(b)] : seq;
      for (int64_t s = 0; s < seq; ++s) {
        const int64_t v = in.role == "position_ids" ? s : (in.role == "attention_mask" && s < length ? 1 : 0);
        out[b * seq + s] = tenon::convert<T>(v);
      }
    }
  });
  return {};
}

// Copies the caller's tensor to staging memory: as the engine's dtype, and to [batch, seq] where it came packed.
Status Inputs::convert(size_t input) {
  Item& item = items_[input];
  const engine::PlanInput& in = declared(input);
  const size_t size = dtype_size(in.type.dtype);
  const int64_t total = numel(item.expected);
  TENON_TRY(item.staging.reserve(static_cast<size_t>(total) * size, memory_limit_));
  item.bound = item.staging.data();
  const auto* from = static_cast<const std::byte*>(item.given);
  const auto copy = [&](int64_t source, int64_t target, int64_t count) -> Status {
    const int64_t done = copy_elements(from + static_cast<size_t>(source) * dtype_size(item.dtype), item.dtype,
                                       item.staging.data() + static_cast<size_t>(target) * size, in.type.dtype, count);
    if (done == count) return {};
    return bad("input \"{}\", {}: the value does not fit {}", in.name, position_text(item.expected, target + done), dtype_name(in.type.dtype));
  };
  if (item.source == Source::kPadded) return copy(0, 0, total);
  std::memset(item.staging.data(), 0, static_cast<size_t>(total) * size);
  const int64_t inner = numel(std::span(item.expected).subspan(2));
  for (size_t b = 0; b + 1 < row_offsets_.size(); ++b) {
    const int64_t begin = row_offsets_[b], rows = row_offsets_[b + 1] - begin;
    TENON_TRY(copy(begin * inner, static_cast<int64_t>(b) * item.expected[1] * inner, rows * inner));
  }
  return {};
}

bool Inputs::is_masked(int64_t position) const {
  const int mask = executable_.plan().packing_mask_input;
  if (mask < 0) return false;
  return visit_dtype(declared(static_cast<size_t>(mask)).type.dtype, [&]<class T>() {
    return tenon::convert<double>(static_cast<const T*>(data(mask))[position]) == 0;
  });
}

Status Inputs::check_indices(size_t input) const {
  const Item& item = items_[input];
  const engine::PlanInput& in = declared(input);
  if (in.limit <= 0 || (in.type.dtype != DType::kI64 && in.type.dtype != DType::kI32)) return {};
  const int64_t count = numel(item.expected);
  const bool wide = in.type.dtype == DType::kI64;
  if (code_.ids_within(item.bound, wide, count, in.limit)) return {};
  const int mask = executable_.plan().packing_mask_input;
  const bool maskable = mask >= 0 && std::ranges::equal(shape(mask), item.expected);
  const auto check = [&]<class T>(const T* ids) -> Status {
    for (int64_t i = 0; i < count; ++i) {
      if (ids[i] >= 0 && ids[i] < in.limit) continue;
      if (maskable && is_masked(i)) continue;
      return bad("input \"{}\", {}: the id {} is out of range, ids are 0 to {}", in.name, position_text(item.expected, i), ids[i], in.limit - 1);
    }
    return {};
  };
  return wide ? check(static_cast<const int64_t*>(item.bound)) : check(static_cast<const int32_t*>(item.bound));
}

}  // namespace tenon::runtime
