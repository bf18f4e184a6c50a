// Operators of your own, in a shared library that Tenon loads: `--plugins lib.so`, BuilderConfig::plugins,
// RuntimeOptions::plugins. This header is all that a library needs; it links nothing of Tenon.
//
//   class Scale : public tenon::plugin::Operator {
//    public:
//     explicit Scale(const tenon::plugin::Attributes& a) : factor_(static_cast<float>(a.number("factor", 1))) {}
//     explicit Scale(tenon::plugin::State s) : factor_(tenon::plugin::read<float>(s)) {}
//     std::string serialize() const override { return tenon::plugin::write(factor_); }
//     std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override { return {{in[0].dtype,
//     in[0].shape}}; } void run(const Run& run) const override { … }
//    private:
//     float factor_;
//   };
//   TENON_PLUGIN_LIBRARY("my-operators", tenon::plugin::define<Scale>("my.domain", "Scale", "1"))
//
// ONNX nodes of that domain and name become the operator; so do pattern files' replacements (docs/patterns.md). Its
// results must depend on its inputs alone: nodes without variable inputs are evaluated when the engine is built, equal
// nodes once. Any exception becomes an error that names the operator, the node and the exception's text.
// docs/plugins.md teaches it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/types.h"

// ---- The binary interface
// -------------------------------------------------------------------------------------------- Plain C, so that library
// and Tenon may come from different compilers. Its number changes when its meaning does; a library of another number is
// refused. Write against the C++ classes below.

#define TENON_PLUGIN_ABI 1

extern "C" {

// Where text or bytes go, in one or several pieces.
struct tenon_plugin_sink {
  void* context;
  void (*write)(void* context, const char* bytes, size_t size);
};

struct tenon_plugin_tensor {
  int32_t dtype;            // tenon::DType
  int32_t format;           // tenon::plugin::Format
  int32_t rank;             // -1: an optional input that is absent
  const char* const* dims;  // sizes as expressions, "batch", "2*seq + 1", "768"; null in a run
  const int64_t* sizes;     // in a run
  void* data;               // in a run, and of the weight in `pack`; else null
};

struct tenon_plugin_attribute {
  const char* name;
  int32_t kind;  // tenon::plugin::AttributeKind
  int64_t integer;
  double number;
  const char* text;
  size_t text_size;
  const int64_t* integers;
  const double* numbers;
  const char* const* texts;
  size_t count;  // of the three lists
  const tenon_plugin_tensor* tensor;
};

struct tenon_plugin_types {
  void* context;
  void (*add)(void* context, int32_t dtype, const char* const* dims, size_t rank);
};

// Tenon's threads: calls body(body_context, begin, end) over parts of [0, count).
struct tenon_plugin_threads {
  void* context;
  void (*run)(void* context, int64_t count, void (*body)(void*, int64_t, int64_t), void* body_context);
};

struct tenon_plugin_run {
  const tenon_plugin_tensor* inputs;
  size_t num_inputs;
  const tenon_plugin_tensor* outputs;
  size_t num_outputs;
  void* workspace;  // as many bytes as `workspace` asked for, 64-byte aligned
  void* stream;     // CUstream; null on the host
  tenon_plugin_threads threads;
};

// All functions but destroy return false (create and restore: null) after writing to `error`.
struct tenon_plugin_operator {
  const char *domain, *name, *version;
  void* (*create)(const tenon_plugin_attribute* attributes, size_t count, tenon_plugin_sink error);
  void* (*restore)(const char* state, size_t size, tenon_plugin_sink error);
  void (*destroy)(void* instance);
  bool (*serialize)(const void* instance, tenon_plugin_sink state, tenon_plugin_sink error);
  bool (*outputs)(const void* instance, const tenon_plugin_tensor* inputs, size_t count, tenon_plugin_types types,
                  tenon_plugin_sink error);
  // Writes why not to `reason`; nothing: it takes them.
  bool (*refuses)(const void* instance, int32_t place, const tenon_plugin_tensor* inputs, size_t num_inputs,
                  const tenon_plugin_tensor* outputs, size_t num_outputs, tenon_plugin_sink reason,
                  tenon_plugin_sink error);
  bool (*packed_bytes)(const void* instance, int32_t input, const tenon_plugin_tensor* weight, size_t* bytes,
                       tenon_plugin_sink error);
  bool (*pack)(const void* instance, int32_t input, const tenon_plugin_tensor* weight, void* packed,
               tenon_plugin_sink error);
  bool (*workspace)(const void* instance, int32_t place, const tenon_plugin_run* run, size_t* bytes,
                    tenon_plugin_sink error);
  bool (*run)(const void* instance, int32_t place, const tenon_plugin_run* run, tenon_plugin_sink error);
};

struct tenon_plugin_library {
  uint32_t abi;  // TENON_PLUGIN_ABI; first in every version
  const char* name;
  const tenon_plugin_operator* operators;
  size_t num_operators;
};

// The one symbol of a library.
#define TENON_PLUGIN_ENTRY "tenon_plugin_entry"
typedef const tenon_plugin_library* (*tenon_plugin_entry_function)(void);

}  // extern "C"

// ---- The C++ interface
// -----------------------------------------------------------------------------------------------

namespace tenon::plugin {

enum class Place : int32_t { kHost = 0, kDevice = 1 };
enum class Format : int32_t { kRowMajor = 0 };  // dense, last axis fastest; the only one so far
enum class AttributeKind : int32_t { kInteger = 0, kNumber, kText, kIntegers, kNumbers, kTexts, kTensor };

// A size that may depend on those of a run: an expression over the model's symbols.
class Dim {
 public:
  Dim(int64_t value) : text_(std::to_string(value)) {}  // NOLINT: implicit on purpose
  explicit Dim(std::string text) : text_(std::move(text)) {}

  const std::string& text() const { return text_; }
  bool is_constant() const { return text_.find_first_not_of("-0123456789") == std::string::npos; }
  int64_t value() const { return std::stoll(text_); }  // of a constant
  // Equal as written. Tenon writes one expression in one way, so this holds for sizes that it hands out.
  bool operator==(const Dim&) const = default;

  friend Dim operator+(const Dim& a, const Dim& b) { return Dim("(" + a.text_ + ") + (" + b.text_ + ")"); }
  friend Dim operator-(const Dim& a, const Dim& b) { return Dim("(" + a.text_ + ") - (" + b.text_ + ")"); }
  friend Dim operator*(const Dim& a, const Dim& b) { return Dim("(" + a.text_ + ")*(" + b.text_ + ")"); }
  friend Dim floordiv(const Dim& a, const Dim& b) { return function("floordiv", a, b); }
  friend Dim mod(const Dim& a, const Dim& b) { return function("mod", a, b); }
  friend Dim min(const Dim& a, const Dim& b) { return function("min", a, b); }
  friend Dim max(const Dim& a, const Dim& b) { return function("max", a, b); }

 private:
  static Dim function(const char* name, const Dim& a, const Dim& b) {
    return Dim(std::string(name) + "(" + a.text_ + ", " + b.text_ + ")");
  }
  std::string text_;
};

// What is known of a tensor before a run.
struct TensorDesc {
  DType dtype = DType::kF32;
  std::vector<Dim> shape;
  Format format = Format::kRowMajor;
  const void* data = nullptr;  // in pack(): the weight
  bool present = true;         // false: an optional input that is absent
};

struct OutputType {
  DType dtype = DType::kF32;
  std::vector<Dim> shape;
};

// A tensor in a run.
class Tensor {
 public:
  explicit Tensor(const tenon_plugin_tensor& raw) : raw_(&raw) {}
  bool present() const { return raw_->rank >= 0; }
  DType dtype() const { return static_cast<DType>(raw_->dtype); }
  int rank() const { return raw_->rank; }
  std::span<const int64_t> shape() const { return {raw_->sizes, present() ? static_cast<size_t>(raw_->rank) : 0}; }
  int64_t dim(int axis) const { return raw_->sizes[axis < 0 ? axis + raw_->rank : axis]; }
  int64_t count() const {
    int64_t n = 1;
    for (const int64_t d : shape()) n *= d;
    return n;
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw_->data);
  }

 private:
  const tenon_plugin_tensor* raw_;
};

// One run of an operator: on the host pointers are the host's; in enqueue they are the GPU's.
class Run {
 public:
  explicit Run(const tenon_plugin_run& raw) : raw_(raw) {}
  int num_inputs() const { return static_cast<int>(raw_.num_inputs); }
  int num_outputs() const { return static_cast<int>(raw_.num_outputs); }
  bool has(int i) const { return i < num_inputs() && input(i).present(); }
  Tensor input(int i) const { return Tensor(raw_.inputs[i]); }
  Tensor output(int i = 0) const { return Tensor(raw_.outputs[i]); }
  void* workspace() const { return raw_.workspace; }
  void* stream() const { return raw_.stream; }  // a CUstream, which is a cudaStream_t

  // body(begin, end) over parts of [0, count) on Tenon's threads. The first exception is thrown on when all are done.
  template <class Body>
  void parallel_for(int64_t count, Body&& body) const;

 private:
  const tenon_plugin_run& raw_;
};

// The attributes of a node. All getters throw std::invalid_argument where the kind differs; those without a fallback
// also where the attribute is missing.
class Attributes {
 public:
  Attributes(const tenon_plugin_attribute* all, size_t count) : all_(all, count) {}
  bool has(std::string_view name) const { return find(name) != nullptr; }
  int64_t integer(std::string_view name) const { return required(name, AttributeKind::kInteger).integer; }
  int64_t integer(std::string_view name, int64_t fallback) const { return has(name) ? integer(name) : fallback; }
  double number(std::string_view name) const {
    const tenon_plugin_attribute* a = find(name);
    if (a != nullptr && a->kind == static_cast<int32_t>(AttributeKind::kInteger))
      return static_cast<double>(a->integer);
    return required(name, AttributeKind::kNumber).number;
  }
  double number(std::string_view name, double fallback) const { return has(name) ? number(name) : fallback; }
  std::string text(std::string_view name) const {
    const tenon_plugin_attribute& a = required(name, AttributeKind::kText);
    return std::string(a.text, a.text_size);
  }
  std::string text(std::string_view name, std::string fallback) const { return has(name) ? text(name) : fallback; }
  std::span<const int64_t> integers(std::string_view name) const {
    const tenon_plugin_attribute& a = required(name, AttributeKind::kIntegers);
    return {a.integers, a.count};
  }
  std::span<const double> numbers(std::string_view name) const {
    const tenon_plugin_attribute& a = required(name, AttributeKind::kNumbers);
    return {a.numbers, a.count};
  }
  std::vector<std::string> texts(std::string_view name) const {
    const tenon_plugin_attribute& a = required(name, AttributeKind::kTexts);
    return {a.texts, a.texts + a.count};
  }
  Tensor tensor(std::string_view name) const { return Tensor(*required(name, AttributeKind::kTensor).tensor); }

 private:
  const tenon_plugin_attribute* find(std::string_view name) const {
    for (const tenon_plugin_attribute& a : all_)
      if (name == a.name) return &a;
    return nullptr;
  }
  const tenon_plugin_attribute& required(std::string_view name, AttributeKind kind) const {
    const tenon_plugin_attribute* a = find(name);
    if (a == nullptr) throw std::invalid_argument("attribute '" + std::string(name) + "' is missing");
    if (a->kind != static_cast<int32_t>(kind))
      throw std::invalid_argument("attribute '" + std::string(name) + "' is of another kind");
    return *a;
  }
  std::span<const tenon_plugin_attribute> all_;
};

// What serialize() gave, read back from an engine file: check it, the file may be damaged.
struct State {
  std::string_view bytes;
};

// The state of operators whose members fit a plain struct.
template <class T>
std::string write(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}
template <class T>
T read(State state) {
  if (state.bytes.size() != sizeof(T))
    throw std::invalid_argument("the state has " + std::to_string(state.bytes.size()) + " bytes");
  T value;
  std::memcpy(&value, state.bytes.data(), sizeof(T));
  return value;
}

// One node of a model. Made from its attributes when an engine is built, from its state when the engine is loaded;
// const functions are called by several threads at once.
class Operator {
 public:
  virtual ~Operator() = default;
  // What a constructor from State needs.
  virtual std::string serialize() const { return {}; }
  // The types of all outputs, from those of the inputs; throws where they do not fit.
  virtual std::vector<OutputType> outputs(std::span<const TensorDesc> inputs) const = 0;
  // Why it cannot run on these types and formats there; empty: it can. The host is asked where the GPU is refused.
  virtual std::string refuses(Place place, std::span<const TensorDesc> inputs,
                              std::span<const TensorDesc> outputs) const {
    (void)inputs, (void)outputs;
    return place == Place::kHost ? "" : "it has no CUDA code";
  }
  // Weights are known when the engine is built: the bytes that it shall store in the place of constant input `input`,
  // and how to make them. run() then finds them at that input. 0: the weight as it is.
  virtual size_t packed_bytes(int input, const TensorDesc& weight) const {
    (void)input, (void)weight;
    return 0;
  }
  virtual void pack(int input, const TensorDesc& weight, void* packed) const {
    (void)input, (void)weight, (void)packed;
  }
  // Bytes of scratch for these sizes; pointers are null here.
  virtual size_t workspace(Place place, const Run& run) const {
    (void)place, (void)run;
    return 0;
  }
  virtual void run(const Run& run) const = 0;
  // Enqueues on run.stream() and neither waits nor allocates: the calls are recorded once and replayed. Sizes that the
  // data gives (a token count) are rounded up, and rows behind the last hold anything: rows must not depend on each
  // other.
  virtual void enqueue(const Run& run) const {
    (void)run;
    throw std::logic_error("it has no CUDA code");
  }
};

// ---- Between the two
// -------------------------------------------------------------------------------------------------

namespace bridge {

inline void write_text(tenon_plugin_sink sink, std::string_view text) {
  sink.write(sink.context, text.data(), text.size());
}

// No exception crosses the border.
template <class Body>
bool guarded(tenon_plugin_sink error, Body&& body) {
  try {
    body();
    return true;
  } catch (const std::exception& e) {
    write_text(error, e.what());
  } catch (...) {
    write_text(error, "an exception of unknown type");
  }
  return false;
}

inline TensorDesc describe(const tenon_plugin_tensor& t) {
  TensorDesc d;
  d.present = t.rank >= 0;
  d.dtype = static_cast<DType>(t.dtype);
  d.format = static_cast<Format>(t.format);
  d.data = t.data;
  for (int32_t i = 0; i < t.rank; ++i) d.shape.emplace_back(std::string(t.dims[i]));
  return d;
}

inline std::vector<TensorDesc> describe(const tenon_plugin_tensor* all, size_t count) {
  std::vector<TensorDesc> out;
  for (size_t i = 0; i < count; ++i) out.push_back(describe(all[i]));
  return out;
}

inline const Operator& self(const void* instance) { return *static_cast<const Operator*>(instance); }

template <class T>
struct Table {
  static void* create(const tenon_plugin_attribute* attributes, size_t count, tenon_plugin_sink error) {
    Operator* made = nullptr;
    guarded(error, [&] { made = new T(Attributes(attributes, count)); });
    return made;
  }
  static void* restore(const char* state, size_t size, tenon_plugin_sink error) {
    Operator* made = nullptr;
    guarded(error, [&] { made = new T(State{{state, size}}); });
    return made;
  }
};

inline void destroy(void* instance) { delete static_cast<Operator*>(instance); }
inline bool serialize(const void* instance, tenon_plugin_sink state, tenon_plugin_sink error) {
  return guarded(error, [&] { write_text(state, self(instance).serialize()); });
}
inline bool outputs(const void* instance, const tenon_plugin_tensor* inputs, size_t count, tenon_plugin_types types,
                    tenon_plugin_sink error) {
  return guarded(error, [&] {
    for (const OutputType& type : self(instance).outputs(describe(inputs, count))) {
      std::vector<const char*> dims;
      for (const Dim& d : type.shape) dims.push_back(d.text().c_str());
      types.add(types.context, static_cast<int32_t>(type.dtype), dims.data(), dims.size());
    }
  });
}
inline bool refuses(const void* instance, int32_t place, const tenon_plugin_tensor* in, size_t num_in,
                    const tenon_plugin_tensor* out, size_t num_out, tenon_plugin_sink reason, tenon_plugin_sink error) {
  return guarded(error, [&] {
    write_text(reason, self(instance).refuses(static_cast<Place>(place), describe(in, num_in), describe(out, num_out)));
  });
}
inline bool packed_bytes(const void* instance, int32_t input, const tenon_plugin_tensor* weight, size_t* bytes,
                         tenon_plugin_sink error) {
  return guarded(error, [&] { *bytes = self(instance).packed_bytes(input, describe(*weight)); });
}
inline bool pack(const void* instance, int32_t input, const tenon_plugin_tensor* weight, void* packed,
                 tenon_plugin_sink error) {
  return guarded(error, [&] { self(instance).pack(input, describe(*weight), packed); });
}
inline bool workspace(const void* instance, int32_t place, const tenon_plugin_run* run, size_t* bytes,
                      tenon_plugin_sink error) {
  return guarded(error, [&] { *bytes = self(instance).workspace(static_cast<Place>(place), Run(*run)); });
}
inline bool run(const void* instance, int32_t place, const tenon_plugin_run* run, tenon_plugin_sink error) {
  return guarded(error, [&] {
    place == static_cast<int32_t>(Place::kHost) ? self(instance).run(Run(*run)) : self(instance).enqueue(Run(*run));
  });
}

}  // namespace bridge

template <class Body>
void Run::parallel_for(int64_t count, Body&& body) const {
  struct Context {
    std::remove_reference_t<Body>* body;
    std::atomic<bool> failed = false;
    std::exception_ptr failure = nullptr;
  } context{&body};
  raw_.threads.run(
      raw_.threads.context, count,
      [](void* c, int64_t begin, int64_t end) {
        auto& shared = *static_cast<Context*>(c);
        try {
          (*shared.body)(begin, end);
        } catch (...) {
          if (!shared.failed.exchange(true)) shared.failure = std::current_exception();
        }
      },
      &context);
  if (context.failure) std::rethrow_exception(context.failure);
}

// T is an Operator with constructors from Attributes and from State.
template <class T>
tenon_plugin_operator define(const char* domain, const char* name, const char* version) {
  return {domain,
          name,
          version,
          bridge::Table<T>::create,
          bridge::Table<T>::restore,
          bridge::destroy,
          bridge::serialize,
          bridge::outputs,
          bridge::refuses,
          bridge::packed_bytes,
          bridge::pack,
          bridge::workspace,
          bridge::run};
}

}  // namespace tenon::plugin

// The library's name and its operators, once per library.
#define TENON_PLUGIN_LIBRARY(library_name, ...)                                                                    \
  extern "C" __attribute__((visibility("default"))) const tenon_plugin_library* tenon_plugin_entry() {             \
    static const tenon_plugin_operator operators[] = {__VA_ARGS__};                                                \
    static const tenon_plugin_library library = {TENON_PLUGIN_ABI, library_name, operators, std::size(operators)}; \
    return &library;                                                                                               \
  }
