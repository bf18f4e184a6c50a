#include "ops/plugin_host.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

namespace tenon::ops {
namespace {

// More inputs or outputs than any operator has; arguments of a run stand in arrays of this size.
constexpr size_t kMaxTensors = 32;
constexpr size_t kMaxStateBytes = 1 << 20;

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<PluginOperator>, std::less<>> operators;
  std::set<std::string> loaded;  // canonical paths

  // All operators of a library, or none of them.
  Status add(const tenon_plugin_library* library, const std::string& path);
};

// Never destroyed: instances may outlive main.
Registry& registry() {
  static auto* all = new Registry;
  return *all;
}

template <class... Args>
Status bad_library(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
  return Status(ErrorCode::kPlugin, path + ": " + fmt::format(format, std::forward<Args>(args)...));
}

bool is_complete(const tenon_plugin_operator& op) {
  const bool named = op.domain != nullptr && op.name != nullptr && *op.name != '\0' && op.version != nullptr;
  return named && op.create && op.restore && op.destroy && op.serialize && op.outputs && op.refuses &&
         op.packed_bytes && op.pack && op.workspace && op.run;
}

Status Registry::add(const tenon_plugin_library* library, const std::string& path) {
  if (library == nullptr) return bad_library(path, "it describes no operators");
  if (library->abi != TENON_PLUGIN_ABI) {
    return bad_library(path,
                       "it is built for version {} of the plugin interface, this Tenon has version {}: build it again "
                       "with this Tenon's tenon/plugin.h",
                       library->abi, TENON_PLUGIN_ABI);
  }
  if (library->name == nullptr || library->operators == nullptr) return bad_library(path, "it describes no operators");
  std::map<std::string, std::unique_ptr<PluginOperator>, std::less<>> made;
  for (const tenon_plugin_operator& op : std::span(library->operators, library->num_operators)) {
    if (!is_complete(op)) return bad_library(path, "it describes an operator that lacks a name or a function");
    std::string full = plugin_name(op.domain, op.name);
    if (const auto it = operators.find(full); it != operators.end()) {
      if (it->second->table == &op) continue;
      return bad_library(path, "it defines {}, which {} has defined already", full, it->second->path);
    }
    auto entry = std::make_unique<PluginOperator>(PluginOperator{full, op.version, library->name, path, &op});
    if (!made.emplace(full, std::move(entry)).second) return bad_library(path, "it defines {} twice", full);
  }
  operators.merge(made);
  return {};
}

// ---- Text and tensors across the border
// ------------------------------------------------------------------------------

tenon_plugin_sink into(std::string& text) {
  return {&text, [](void* context, const char* bytes, size_t size) {
            static_cast<std::string*>(context)->append(bytes, size);
          }};
}

// A description for as long as this object lives.
class Described {
 public:
  explicit Described(std::span<const PluginInstance::Input> inputs) {
    for (const PluginInstance::Input& in : inputs) add(in.type, in.constant);
  }
  explicit Described(std::span<const TensorType> types) {
    for (const TensorType& type : types) add(&type, nullptr);
  }
  const tenon_plugin_tensor* data() const { return tensors_.data(); }
  size_t size() const { return tensors_.size(); }

 private:
  struct Dims {
    std::vector<std::string> texts;
    std::vector<const char*> pointers;
    std::vector<int64_t> sizes;
  };
  void add(const TensorType* type, const Tensor* constant) {
    if (type == nullptr) {
      tensors_.push_back({0, 0, -1, nullptr, nullptr, nullptr});
      return;
    }
    auto dims = std::make_unique<Dims>();
    for (const Dim& d : type->shape) {
      dims->texts.push_back(d.to_string());
      dims->sizes.push_back(d.is_const() ? d.value() : -1);
    }
    for (const std::string& text : dims->texts) dims->pointers.push_back(text.c_str());
    void* data = constant != nullptr ? const_cast<std::byte*>(constant->data()) : nullptr;
    tensors_.push_back(
        {static_cast<int32_t>(type->dtype), 0, type->rank(), dims->pointers.data(), dims->sizes.data(), data});
    dims_.push_back(std::move(dims));
  }
  std::vector<tenon_plugin_tensor> tensors_;
  std::vector<std::unique_ptr<Dims>> dims_;
};

// The arguments of a run, without allocations.
class RunArguments {
 public:
  RunArguments(plugin::Place place, const RunArgs& args) {
    for (size_t i = 0; i < args.inputs.size(); ++i) inputs_[i] = argument(args.inputs[i]);
    for (size_t i = 0; i < args.outputs.size(); ++i) outputs_[i] = argument(args.outputs[i]);
    const auto run_on_pool = [](void* pool, int64_t count, void (*body)(void*, int64_t, int64_t), void* context) {
      if (pool == nullptr) {
        if (count > 0) body(context, 0, count);
        return;
      }
      static_cast<ThreadPool*>(pool)->parallel_for(count,
                                                   [&](int64_t begin, int64_t end, int) { body(context, begin, end); });
    };
    run_ = {inputs_.data(),          args.inputs.size(), outputs_.data(),
            args.outputs.size(),     args.workspace,     place == plugin::Place::kDevice ? args.stream : nullptr,
            {args.pool, run_on_pool}};
  }
  RunArguments(const RunArguments&) = delete;
  const tenon_plugin_run* get() const { return &run_; }

 private:
  static tenon_plugin_tensor argument(const TensorArg& a) {
    // An empty shape with neither data nor sizes is what an absent input looks like; scalars have sizes.
    const bool absent = a.data == nullptr && a.shape.data() == nullptr;
    return {static_cast<int32_t>(a.dtype), 0, absent ? -1 : a.rank(), nullptr, a.shape.data(), a.data};
  }
  std::array<tenon_plugin_tensor, kMaxTensors> inputs_, outputs_;
  tenon_plugin_run run_;
};

constexpr char kHex[] = "0123456789abcdef";

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += kHex[static_cast<unsigned char>(c) >> 4];
    text += kHex[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0 || text.size() > 2 * kMaxStateBytes) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const char *high = std::strchr(kHex, text[i]), *low = std::strchr(kHex, text[i + 1]);
    if (text[i] == '\0' || text[i + 1] == '\0' || high == nullptr || low == nullptr) return std::nullopt;
    bytes += static_cast<char>((high - kHex) << 4 | (low - kHex));
  }
  return bytes;
}

// An attribute as the library sees it; what it points to lives in `attribute` and in this object.
class AttributeView {
 public:
  explicit AttributeView(const PluginAttributes& attributes) {
    for (const auto& [name, value] : attributes) {
      tenon_plugin_attribute a{};
      a.name = name.c_str();
      a.kind = static_cast<int32_t>(value.index());
      if (const auto* i = std::get_if<int64_t>(&value)) a.integer = *i;
      if (const auto* d = std::get_if<double>(&value)) a.number = *d;
      if (const auto* text = std::get_if<std::string>(&value)) a.text = text->data(), a.text_size = text->size();
      if (const auto* list = std::get_if<std::vector<int64_t>>(&value))
        a.integers = list->data(), a.count = list->size();
      if (const auto* list = std::get_if<std::vector<double>>(&value)) a.numbers = list->data(), a.count = list->size();
      if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
        auto pointers = std::make_unique<std::vector<const char*>>();
        for (const std::string& text : *list) pointers->push_back(text.c_str());
        a.texts = pointers->data(), a.count = list->size();
        texts_.push_back(std::move(pointers));
      }
      if (const auto* tensor = std::get_if<Tensor>(&value)) {
        tensors_.push_back(std::make_unique<tenon_plugin_tensor>(
            tenon_plugin_tensor{static_cast<int32_t>(tensor->dtype()), 0, static_cast<int32_t>(tensor->shape().size()),
                                nullptr, tensor->shape().data(), const_cast<std::byte*>(tensor->data())}));
        a.tensor = tensors_.back().get();
      }
      views_.push_back(a);
    }
  }
  const tenon_plugin_attribute* data() const { return views_.data(); }
  size_t size() const { return views_.size(); }

 private:
  std::vector<tenon_plugin_attribute> views_;
  std::vector<std::unique_ptr<std::vector<const char*>>> texts_;
  std::vector<std::unique_ptr<tenon_plugin_tensor>> tensors_;
};

static_assert(std::variant_size_v<PluginAttribute> == static_cast<size_t>(plugin::AttributeKind::kTensor) + 1);

}  // namespace

// ---- Libraries
// -------------------------------------------------------------------------------------------------------

std::string plugin_name(std::string_view domain, std::string_view name) {
  return domain.empty() ? std::string(name) : std::string(domain) + "." + std::string(name);
}

Status add_plugin_library(const tenon_plugin_library* library, const std::string& path) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  return all.add(library, path);
}

Status load_plugin_library(const std::string& path) {
  std::error_code failed;
  const std::string canonical = std::filesystem::canonical(path, failed).string();
  if (failed) return error(ErrorCode::kNotFound, "{}: no such plugin library", path);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (all.loaded.contains(canonical)) return {};
  void* handle = ::dlopen(canonical.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return bad_library(path, "it cannot be loaded: {}", ::dlerror());
  const auto entry = reinterpret_cast<tenon_plugin_entry_function>(::dlsym(handle, TENON_PLUGIN_ENTRY));
  const Status status = entry != nullptr
                            ? all.add(entry(), path)
                            : bad_library(path, "it is no plugin of Tenon: it has no {}()", TENON_PLUGIN_ENTRY);
  if (status.ok()) {
    all.loaded.insert(canonical);
  } else {
    ::dlclose(handle);
  }
  return status;
}

Status load_plugin_libraries(std::span<const std::string> paths) {
  for (const std::string& path : paths) TENON_TRY(load_plugin_library(path));
  return {};
}

const PluginOperator* find_plugin(std::string_view name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto it = all.operators.find(name);
  return it == all.operators.end() ? nullptr : it->second.get();
}

// ---- Instances
// -------------------------------------------------------------------------------------------------------

PluginInstance::~PluginInstance() { op_.table->destroy(instance_); }

Status PluginInstance::failed(const std::string& cause) const {
  return error(ErrorCode::kPlugin, "plugin {} {}: {}", op_.name, op_.version,
               cause.empty() ? "it failed without a reason" : cause);
}

Result<std::shared_ptr<const PluginInstance>> PluginInstance::create(const PluginOperator& op,
                                                                     const PluginAttributes& attributes) {
  std::string cause;
  const AttributeView view(attributes);
  void* made = op.table->create(view.data(), view.size(), into(cause));
  if (made == nullptr) return error(ErrorCode::kPlugin, "plugin {} {}: {}", op.name, op.version, cause);
  return std::shared_ptr<const PluginInstance>(new PluginInstance(op, made));
}

Result<std::shared_ptr<const PluginInstance>> PluginInstance::restore(const Attrs& attrs) {
  const std::string &name = attrs.text("operator"), &version = attrs.text("version");
  const PluginOperator* op = find_plugin(name);
  if (op == nullptr)
    return error(ErrorCode::kNotFound, "plugin {} {} is not loaded: give its library ({}) with --plugins", name,
                 version, attrs.text("library"));
  if (op->version != version) {
    return error(ErrorCode::kEngineVersion,
                 "plugin {} is needed in version {}, {} has version {}: build the engine again", name, version,
                 op->path, op->version);
  }
  const auto state = from_hex(attrs.text("state"));
  if (!state) return error(ErrorCode::kBadEngine, "the state of plugin {} is damaged", name);
  std::string cause;
  void* made = op->table->restore(state->data(), state->size(), into(cause));
  if (made == nullptr)
    return error(ErrorCode::kPlugin, "plugin {} {} does not take its state: {}", name, version, cause);
  return std::shared_ptr<const PluginInstance>(new PluginInstance(*op, made));
}

Result<std::string> PluginInstance::serialize() const {
  std::string state, cause;
  if (!op_.table->serialize(instance_, into(state), into(cause))) return failed(cause);
  if (state.size() > kMaxStateBytes)
    return failed(fmt::format("its state of {} bytes is larger than 1 MiB: keep weights as inputs", state.size()));
  return state;
}

Result<std::vector<TensorType>> PluginInstance::outputs(std::span<const Input> inputs) const {
  struct Collected {
    std::vector<TensorType> types;
    Status status;
  } collected;
  const auto add = [](void* context, int32_t dtype, const char* const* dims, size_t rank) {
    auto& all = *static_cast<Collected*>(context);
    TensorType type;
    type.dtype = static_cast<DType>(dtype);
    if (dtype < 0 || dtype > static_cast<int32_t>(kLastDType))
      all.status = error(ErrorCode::kPlugin, "it gives an output of unknown type {}", dtype);
    for (size_t i = 0; i < rank; ++i) {
      Result<Dim> dim = Dim::parse(dims[i]);
      if (!dim.ok()) {
        all.status = dim.status();
      } else {
        type.shape.push_back(std::move(dim).value());
      }
    }
    all.types.push_back(std::move(type));
  };
  std::string cause;
  const Described described(inputs);
  if (!op_.table->outputs(instance_, described.data(), described.size(), {&collected, add}, into(cause)))
    return failed(cause);
  if (!collected.status.ok()) return failed(collected.status.message());
  if (collected.types.empty() || collected.types.size() > kMaxTensors)
    return failed(fmt::format("it has {} outputs", collected.types.size()));
  return std::move(collected.types);
}

Result<std::string> PluginInstance::refuses(PluginPlace place, std::span<const Input> inputs,
                                            std::span<const TensorType> outputs) const {
  std::string reason, cause;
  const Described in(inputs), out(outputs);
  if (!op_.table->refuses(instance_, static_cast<int32_t>(place), in.data(), in.size(), out.data(), out.size(),
                          into(reason), into(cause)))
    return failed(cause);
  return reason;
}

Result<int64_t> PluginInstance::packed_bytes(int input, const TensorType& type) const {
  std::string cause;
  size_t bytes = 0;
  const Described described(std::span(&type, 1));
  if (!op_.table->packed_bytes(instance_, input, described.data(), &bytes, into(cause))) return failed(cause);
  constexpr size_t kMost = size_t{1} << 40;
  if (bytes > kMost) return failed(fmt::format("it packs input {} into {} bytes", input, bytes));
  return static_cast<int64_t>(bytes);
}

Result<Tensor> PluginInstance::pack(int input, const Tensor& weight) const {
  const TensorType type{weight.dtype(), ir::to_shape(weight.shape())};
  TENON_ASSIGN(const int64_t bytes, packed_bytes(input, type));
  std::byte* memory = nullptr;
  TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kU8, {bytes}, &memory));
  std::string cause;
  const Input in{&type, &weight};
  const Described described(std::span(&in, 1));
  if (!op_.table->pack(instance_, input, described.data(), memory, into(cause))) return failed(cause);
  return packed;
}

Result<size_t> PluginInstance::workspace(PluginPlace place, const RunArgs& args) const {
  std::string cause;
  size_t bytes = 0;
  const RunArguments arguments(place, args);
  if (!op_.table->workspace(instance_, static_cast<int32_t>(place), arguments.get(), &bytes, into(cause)))
    return failed(cause);
  return bytes;
}

Status PluginInstance::run(PluginPlace place, const RunArgs& args) const {
  std::string cause;
  const RunArguments arguments(place, args);
  return op_.table->run(instance_, static_cast<int32_t>(place), arguments.get(), into(cause)) ? Status()
                                                                                              : failed(cause);
}

// ---- Nodes
// -----------------------------------------------------------------------------------------------------------

Result<Node*> create_plugin(Graph& graph, const PluginOperator& op, const PluginAttributes& attributes,
                            std::vector<Value*> inputs, Node* before) {
  TENON_ASSIGN(const auto instance, PluginInstance::create(op, attributes));
  if (inputs.size() > kMaxTensors)
    return error(ErrorCode::kPlugin, "plugin {}: {} inputs, at most {} are possible", op.name, inputs.size(),
                 kMaxTensors);
  std::vector<PluginInstance::Input> described;
  for (const Value* in : inputs)
    described.push_back(in != nullptr ? PluginInstance::Input{&in->type()} : PluginInstance::Input{});
  TENON_ASSIGN(const std::vector<TensorType> types, instance->outputs(described));
  TENON_ASSIGN(const std::string reason, instance->refuses(PluginPlace::kHost, described, types));
  if (!reason.empty()) {
    TENON_ASSIGN(const std::string on_device, instance->refuses(PluginPlace::kDevice, described, types));
    if (!on_device.empty()) return error(ErrorCode::kPlugin, "plugin {} {}: {}", op.name, op.version, reason);
  }
  TENON_ASSIGN(const std::string state, instance->serialize());
  std::string dtypes;
  std::vector<int64_t> ranks;
  Shape dims;
  for (const TensorType& type : types) {
    dtypes.append(dtypes.empty() ? "" : " ").append(dtype_name(type.dtype));
    ranks.push_back(type.rank());
    dims.insert(dims.end(), type.shape.begin(), type.shape.end());
  }
  return create(graph, Op::k_plugin, std::move(inputs),
                Attrs{{"operator", op.name},
                      {"version", op.version},
                      {"library", op.library},
                      {"state", to_hex(state)},
                      {"dtypes", dtypes},
                      {"ranks", ranks},
                      {"dims", dims}},
                before);
}

Result<std::string> check_plugin(const PluginInstance& instance, PluginPlace place, std::span<const TensorType> inputs,
                                 const std::vector<bool>& present, std::span<const TensorType> outputs) {
  std::vector<PluginInstance::Input> described;
  for (size_t i = 0; i < inputs.size(); ++i)
    described.push_back(present[i] ? PluginInstance::Input{&inputs[i]} : PluginInstance::Input{});
  TENON_ASSIGN(const std::vector<TensorType> types, instance.outputs(described));
  if (types.size() != outputs.size()) return fmt::format("it has {} outputs, not {}", types.size(), outputs.size());
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] == outputs[i]) continue;
    return fmt::format("its output {} is {}, not {}", i, types[i].to_string(), outputs[i].to_string());
  }
  return instance.refuses(place, described, outputs);
}

}  // namespace tenon::ops
