#include "hf/pickle.h"

#include <array>
#include <cctype>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace tenon::hf {
namespace {

constexpr size_t kMaxPickleBytes = size_t{16} << 20;
// A pickle can name one large object many times over; these keep what is copied out of it in proportion.
constexpr size_t kMaxObjects = size_t{1} << 20;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxName = 500;
constexpr size_t kMaxRank = 16;
constexpr size_t kMaxArguments = 16;

// The globals that a state dict may name. Storage types stand for their element type.
enum class Callable { kOrderedDict, kRebuildTensor, kRebuildParameter, kStorage };

struct Global {
  std::string_view module, name;
  Callable callable;
  DType dtype = DType::kF32;
};

constexpr std::array<Global, 13> kGlobals = {{
    {"collections", "OrderedDict", Callable::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", Callable::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", Callable::kRebuildParameter},
    {"torch", "FloatStorage", Callable::kStorage, DType::kF32},
    {"torch", "HalfStorage", Callable::kStorage, DType::kF16},
    {"torch", "BFloat16Storage", Callable::kStorage, DType::kBF16},
    {"torch", "DoubleStorage", Callable::kStorage, DType::kF64},
    {"torch", "CharStorage", Callable::kStorage, DType::kI8},
    {"torch", "ByteStorage", Callable::kStorage, DType::kU8},
    {"torch", "ShortStorage", Callable::kStorage, DType::kI16},
    {"torch", "IntStorage", Callable::kStorage, DType::kI32},
    {"torch", "LongStorage", Callable::kStorage, DType::kI64},
    {"torch", "BoolStorage", Callable::kStorage, DType::kBool},
}};

enum class Kind { kNone, kBool, kInt, kFloat, kString, kTuple, kList, kDict, kGlobal, kStorage, kTensor };

// Objects refer to each other by index, so that neither cycles nor deep nesting in a hostile pickle can hurt.
struct Object {
  Kind kind = Kind::kNone;
  int64_t integer = 0;             // kBool, kInt; kGlobal: index into kGlobals
  std::string_view text = {};      // kString, a view of the pickle
  std::vector<size_t> items = {};  // kTuple, kList; kDict: key, value, key, …; kStorage, kTensor: the arguments
};

std::string opcode_text(unsigned op) {
  switch (op) {
    case 'i': return "INST";
    case 'o': return "OBJ";
    case 'P': return "PERSID";
    case 0x81: return "NEWOBJ";
    case 0x82: return "EXT1";
    case 0x83: return "EXT2";
    case 0x84: return "EXT4";
    case 0x92: return "NEWOBJ_EX";
    default:
      return std::isprint(static_cast<int>(op)) ? fmt::format("'{}'", static_cast<char>(op))
                                                : fmt::format("0x{:02x}", op);
  }
}

class Machine {
 public:
  explicit Machine(std::span<const std::byte> pickle) : pickle_(pickle) {}

  Status run() {
    while (!stopped_) {
      const size_t start = at_;
      TENON_ASSIGN(const uint64_t op, uint_le(1));
      if (Status s = step(static_cast<unsigned>(op)); !s.ok())
        return s.with_context(fmt::format("pickle, byte {}", start));
      if (objects_.size() > kMaxObjects)
        return error(ErrorCode::kBadModel, "pickle: more than {} objects", kMaxObjects);
    }
    return {};
  }

  Result<std::vector<PickledTensor>> state_dict() const {
    const Object& top = objects_[result_];
    if (top.kind != Kind::kDict)
      return error(ErrorCode::kUnsupported, "the checkpoint is no dictionary of tensors (a state dict)");
    std::vector<PickledTensor> tensors;
    for (size_t i = 0; i + 1 < top.items.size(); i += 2) {
      const Object& key = objects_[top.items[i]];
      const Object& value = objects_[top.items[i + 1]];
      if (value.kind != Kind::kTensor) continue;
      if (key.kind != Kind::kString || key.text.size() > kMaxName)
        return bad("a tensor's key is not a string, or too long");
      if (tensors.size() == kMaxTensors) return error(ErrorCode::kBadModel, "more than {} tensors", kMaxTensors);
      TENON_ASSIGN(PickledTensor tensor, tensor_of(value));
      tensor.name = std::string(key.text);
      tensors.push_back(std::move(tensor));
    }
    return tensors;
  }

 private:
  static Status bad(const char* what) { return error(ErrorCode::kBadModel, "{}", what); }

  // ---- Reading
  Result<std::string_view> take(uint64_t count) {
    if (count > pickle_.size() - at_) return bad("cut off");
    const std::string_view text(reinterpret_cast<const char*>(pickle_.data()) + at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return text;
  }
  Result<uint64_t> uint_le(size_t size) {
    TENON_ASSIGN(const std::string_view bytes, take(size));
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    return value;
  }
  Result<std::string_view> line() {
    const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + at_, pickle_.size() - at_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return bad("cut off");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // ---- The stack
  Status push(Object object) {
    stack_.push_back(objects_.size());
    objects_.push_back(std::move(object));
    return {};
  }
  Status push_string(Result<std::string_view> text) {
    if (!text.ok()) return text.status();
    return push({.kind = Kind::kString, .text = *text});
  }
  Status push_int(int64_t value) { return push({.kind = Kind::kInt, .integer = value}); }
  // How many entries stand above the last mark (all of them when there is none).
  size_t free_entries() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Result<size_t> pop() {
    if (free_entries() == 0) return bad("the stack is empty");
    const size_t id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Result<std::vector<size_t>> pop_many(size_t count) {
    if (free_entries() < count) return bad("the stack is empty");
    const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<size_t> ids(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return ids;
  }
  Result<std::vector<size_t>> pop_to_mark() {
    if (marks_.empty()) return bad("no mark on the stack");
    auto ids = pop_many(free_entries());
    marks_.pop_back();
    return ids;
  }
  Status push_tuple(Result<std::vector<size_t>> items) {
    if (!items.ok()) return items.status();
    return push({.kind = Kind::kTuple, .items = std::move(*items)});
  }
  // Adds to the container that is left on top: values to a list, pairs to a dict.
  Status extend(Kind kind, Result<std::vector<size_t>> items) {
    if (!items.ok()) return items.status();
    if (free_entries() == 0 || objects_[stack_.back()].kind != kind)
      return bad("items are added to something that is no container of their kind");
    if (kind == Kind::kDict && items->size() % 2 != 0) return bad("a key without a value");
    auto& into = objects_[stack_.back()].items;
    into.insert(into.end(), items->begin(), items->end());
    return {};
  }

  // ---- Opcodes
  Status step(unsigned op) {
    switch (op) {
      case 0x80: return protocol();
      case 0x95: return take(8).status();  // FRAME
      case '(': marks_.push_back(stack_.size()); return {};
      case '.': return stop();
      case 'N': return push({});
      case 0x88: return push({.kind = Kind::kBool, .integer = 1});
      case 0x89: return push({.kind = Kind::kBool});
      case 'K': return integer(1);
      case 'M': return integer(2);
      case 'J': return integer(4);
      case 0x8a: return long1();
      case 'G': return real();
      case 'X': return string(4);
      case 0x8c: return string(1);
      case ')': return push({.kind = Kind::kTuple});
      case 't': return push_tuple(pop_to_mark());
      case 0x85: return push_tuple(pop_many(1));
      case 0x86: return push_tuple(pop_many(2));
      case 0x87: return push_tuple(pop_many(3));
      case ']': return push({.kind = Kind::kList});
      case 'a': return extend(Kind::kList, pop_many(1));
      case 'e': return extend(Kind::kList, pop_to_mark());
      case '}': return push({.kind = Kind::kDict});
      case 's': return extend(Kind::kDict, pop_many(2));
      case 'u': return extend(Kind::kDict, pop_to_mark());
      case 'q': return memoize(uint_le(1));
      case 'r': return memoize(uint_le(4));
      case 0x94: return memoize(uint64_t{memo_.size()});
      case 'h': return recall(uint_le(1));
      case 'j': return recall(uint_le(4));
      case 'c': return global();
      case 0x93: return stack_global();
      case 'Q': return storage();
      case 'R': return reduce();
      case 'b': return build();
      default: return error(ErrorCode::kUnsupported, "opcode {} is none that state dicts use", opcode_text(op));
    }
  }

  Status protocol() {
    TENON_ASSIGN(const uint64_t version, uint_le(1));
    if (version < 2 || version > 5)
      return error(ErrorCode::kUnsupported, "pickle protocol {} is not supported", version);
    return {};
  }
  Status stop() {
    TENON_ASSIGN(result_, pop());
    stopped_ = true;
    return {};
  }
  Status integer(size_t size) {
    TENON_ASSIGN(const uint64_t bits, uint_le(size));
    return push_int(size == 4 ? int64_t{static_cast<int32_t>(bits)} : static_cast<int64_t>(bits));
  }
  Status long1() {
    TENON_ASSIGN(const uint64_t size, uint_le(1));
    if (size > 8) return bad("an integer of more than 64 bits");
    TENON_ASSIGN(uint64_t bits, uint_le(static_cast<size_t>(size)));
    const bool negative = size > 0 && size < 8 && (bits >> (8 * size - 1)) != 0;
    if (negative) bits |= ~uint64_t{0} << (8 * size);
    return push_int(static_cast<int64_t>(bits));
  }
  Status real() {
    TENON_TRY(take(8).status());  // no weight depends on one
    return push({.kind = Kind::kFloat});
  }
  Status string(size_t length_bytes) {
    TENON_ASSIGN(const uint64_t length, uint_le(length_bytes));
    return push_string(take(length));
  }
  Status memoize(Result<uint64_t> index) {
    if (!index.ok()) return index.status();
    if (free_entries() == 0) return bad("the stack is empty");
    memo_[*index] = stack_.back();
    return {};
  }
  Status recall(Result<uint64_t> index) {
    if (!index.ok()) return index.status();
    const auto it = memo_.find(*index);
    if (it == memo_.end()) return error(ErrorCode::kBadModel, "nothing is remembered as {}", *index);
    stack_.push_back(it->second);
    return {};
  }

  Status push_global(std::string_view module, std::string_view name) {
    for (size_t i = 0; i < kGlobals.size(); ++i) {
      if (kGlobals[i].module == module && kGlobals[i].name == name)
        return push({.kind = Kind::kGlobal, .integer = static_cast<int64_t>(i)});
    }
    return error(ErrorCode::kUnsupported, "it names {}.{}, which no state dict needs; nothing of it was run",
                 module.substr(0, kMaxName), name.substr(0, kMaxName));
  }
  Status global() {
    TENON_ASSIGN(const std::string_view module, line());
    TENON_ASSIGN(const std::string_view name, line());
    return push_global(module, name);
  }
  Status stack_global() {
    TENON_ASSIGN(const auto names, pop_many(2));
    const Object &module = objects_[names[0]], &name = objects_[names[1]];
    if (module.kind != Kind::kString || name.kind != Kind::kString) return bad("a global's name is not a string");
    return push_global(module.text, name.text);
  }
  const Global* global_of(size_t id) const {
    return objects_[id].kind == Kind::kGlobal ? &kGlobals[static_cast<size_t>(objects_[id].integer)] : nullptr;
  }

  // ("storage", type, key, device, number of elements)
  Status storage() {
    TENON_ASSIGN(const size_t id, pop());
    if (objects_[id].kind != Kind::kTuple || objects_[id].items.size() != 5)
      return bad("a persistent id is no storage");
    const std::vector<size_t> items = objects_[id].items;
    const Global* type = global_of(items[1]);
    const bool right = objects_[items[0]].text == "storage" && type != nullptr &&
                       type->callable == Callable::kStorage && objects_[items[2]].kind == Kind::kString &&
                       objects_[items[4]].kind == Kind::kInt;
    if (!right) return bad("a persistent id is no storage");
    return push({.kind = Kind::kStorage, .items = items});
  }

  Status reduce() {
    TENON_ASSIGN(const auto call, pop_many(2));
    const Global* function = global_of(call[0]);
    if (function == nullptr || objects_[call[1]].kind != Kind::kTuple)
      return bad("a call of something that is no function");
    if (objects_[call[1]].items.size() > kMaxArguments) return bad("a call with too many arguments");
    const std::vector<size_t> arguments = objects_[call[1]].items;
    const auto is = [&](size_t i, Kind kind) { return i < arguments.size() && objects_[arguments[i]].kind == kind; };
    if (function->callable == Callable::kOrderedDict && arguments.empty()) return push({.kind = Kind::kDict});
    if (function->callable == Callable::kRebuildParameter && is(0, Kind::kTensor)) {
      stack_.push_back(arguments[0]);
      return {};
    }
    if (function->callable == Callable::kRebuildTensor && is(0, Kind::kStorage) && is(1, Kind::kInt) &&
        is(2, Kind::kTuple) && is(3, Kind::kTuple)) {
      return push({.kind = Kind::kTensor, .items = arguments});
    }
    return error(ErrorCode::kBadModel, "{}.{} is called with unexpected arguments", function->module, function->name);
  }

  // Only an OrderedDict has a state: its _metadata attribute, which holds no weights.
  Status build() {
    TENON_TRY(pop().status());
    if (free_entries() == 0 || objects_[stack_.back()].kind != Kind::kDict)
      return bad("a state is set on something that is no dictionary");
    return {};
  }

  // ---- Results
  Result<std::vector<int64_t>> integers(size_t id) const {
    if (objects_[id].items.size() > kMaxRank) return bad("a tensor has too many axes");
    std::vector<int64_t> values;
    for (size_t item : objects_[id].items) {
      if (objects_[item].kind != Kind::kInt) return bad("a tensor's size or stride is no integer");
      values.push_back(objects_[item].integer);
    }
    return values;
  }
  Result<PickledTensor> tensor_of(const Object& object) const {
    const std::vector<size_t>& storage = objects_[object.items[0]].items;
    if (objects_[storage[2]].text.size() > kMaxName) return bad("a storage's key is too long");
    PickledTensor tensor;
    tensor.dtype = global_of(storage[1])->dtype;
    tensor.storage = std::string(objects_[storage[2]].text);
    tensor.storage_numel = objects_[storage[4]].integer;
    tensor.offset = objects_[object.items[1]].integer;
    TENON_ASSIGN(tensor.shape, integers(object.items[2]));
    TENON_ASSIGN(tensor.strides, integers(object.items[3]));
    return tensor;
  }

  std::span<const std::byte> pickle_;
  size_t at_ = 0;
  std::vector<Object> objects_;
  std::vector<size_t> stack_;  // object ids
  std::vector<size_t> marks_;  // stack sizes
  std::unordered_map<uint64_t, size_t> memo_;
  size_t result_ = 0;
  bool stopped_ = false;
};

}  // namespace

Result<std::vector<PickledTensor>> unpickle_state_dict(std::span<const std::byte> pickle) {
  if (pickle.size() > kMaxPickleBytes)
    return error(ErrorCode::kBadModel, "a pickle of {} bytes, at most {} expected", pickle.size(), kMaxPickleBytes);
  Machine machine(pickle);
  TENON_TRY(machine.run());
  return machine.state_dict();
}

}  // namespace tenon::hf
