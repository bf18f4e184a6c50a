// Operators that use every part of the plugin interface, and some that fail in every part.
#include <tenon/plugin.h>

#include <algorithm>

namespace {

using namespace tenon::plugin;
using tenon::DType;

// y = x * factor + shift[0] + the sum of `more`; also its own name and size as attributes that must arrive.
class Affine : public Operator {
 public:
  struct Values {
    float factor, shift;
  };
  explicit Affine(const Attributes& a) {
    values_.factor = static_cast<float>(a.number("factor"));
    values_.shift = static_cast<float>(a.integer("shift", 0));
    if (a.has("more"))
      for (const double m : a.numbers("more")) values_.shift += static_cast<float>(m);
    if (a.has("steps"))
      for (const int64_t s : a.integers("steps")) values_.shift += static_cast<float>(s);
    if (a.has("table"))
      for (int64_t i = 0; i < a.tensor("table").count(); ++i) values_.shift += a.tensor("table").data<float>()[i];
    if (a.text("sign", "plus") == "minus") values_.factor = -values_.factor;
    if (a.has("names"))
      for (const std::string& name : a.texts("names")) values_.shift += static_cast<float>(name.size());
  }
  explicit Affine(State s) : values_(read<Values>(s)) {}
  std::string serialize() const override { return write(values_); }
  std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override {
    return {{in[0].dtype, in[0].shape}};
  }
  std::string refuses(Place, std::span<const TensorDesc> in, std::span<const TensorDesc>) const override {
    return in[0].dtype == DType::kF32 ? "" : "it takes f32 only";
  }
  void run(const Run& run) const override {
    const float* x = run.input(0).data<float>();
    float* y = run.output().data<float>();
    run.parallel_for(run.input(0).count(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = x[i] * values_.factor + values_.shift;
    });
  }
  void enqueue(const Run&) const override {}

 private:
  Values values_;
};

// Each row twice, and a count: two outputs, sizes by expressions, scratch. An optional second input is added.
class Twice : public Operator {
 public:
  explicit Twice(const Attributes&) {}
  explicit Twice(State) {}
  std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override {
    return {{DType::kF32, {in[0].shape[0] * 2, in[0].shape[1]}}, {DType::kI64, {}}};
  }
  size_t workspace(Place, const Run& run) const override {
    return static_cast<size_t>(run.input(0).count()) * sizeof(float);
  }
  void run(const Run& run) const override {
    const int64_t n = run.input(0).count();
    auto* scratch = static_cast<float*>(run.workspace());
    std::copy_n(run.input(0).data<float>(), n, scratch);
    for (const int i : {1, 2})
      if (run.has(i))
        for (int64_t k = 0; k < n; ++k) scratch[k] += run.input(i).data<float>()[k];
    for (int copy = 0; copy < 2; ++copy) std::copy_n(scratch, n, run.output(0).data<float>() + copy * n);
    *run.output(1).data<int64_t>() = n;
  }
};

// y = x * w with w stored as doubles: the engine keeps what pack() made, not the weight.
class Packed : public Operator {
 public:
  explicit Packed(const Attributes&) {}
  explicit Packed(State) {}
  std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override {
    return {{in[0].dtype, in[0].shape}};
  }
  size_t packed_bytes(int input, const TensorDesc& weight) const override {
    return input == 1 ? static_cast<size_t>(weight.shape[0].value()) * sizeof(double) : 0;
  }
  void pack(int, const TensorDesc& weight, void* packed) const override {
    const auto* w = static_cast<const float*>(weight.data);
    for (int64_t i = 0; i < weight.shape[0].value(); ++i) static_cast<double*>(packed)[i] = w[i];
  }
  void run(const Run& run) const override {
    const int64_t n = run.input(1).dim(0);
    for (int64_t i = 0; i < run.input(0).count(); ++i)
      run.output().data<float>()[i] =
          static_cast<float>(run.input(0).data<float>()[i] * run.input(1).data<double>()[i % n]);
  }
};

// Throws where its attribute says.
class Throws : public Operator {
 public:
  explicit Throws(const Attributes& a) : where_(a.text("where")) { at("create"); }
  explicit Throws(State s) : where_(s.bytes) { at("restore"); }
  std::string serialize() const override {
    at("serialize");
    return where_;
  }
  std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override {
    at("outputs");
    if (where_ == "bad-dims") return {{DType::kF32, {Dim("1 +")}}};
    if (where_ == "bad-type") return {{static_cast<DType>(99), {}}};
    if (where_ == "none") return {};
    return {{in[0].dtype, in[0].shape}};
  }
  std::string refuses(Place place, std::span<const TensorDesc>, std::span<const TensorDesc>) const override {
    at("refuses");
    if (where_ == "refused") return "it refuses everything";
    if (where_ == "device-only") return place == Place::kHost ? "it runs on GPUs only" : "";
    return place == Place::kHost ? "" : "it has no CUDA code";
  }
  size_t packed_bytes(int, const TensorDesc&) const override {
    at("packed_bytes");
    return 0;
  }
  size_t workspace(Place, const Run&) const override {
    at("workspace");
    return 0;
  }
  void run(const Run& run) const override {
    at("run");
    run.parallel_for(100, [&](int64_t, int64_t) { at("parallel_for"); });
    if (where_ == "nothing") throw 42;
    std::copy_n(run.input(0).data<float>(), run.input(0).count(), run.output().data<float>());
  }

 private:
  void at(const std::string& here) const {
    if (where_ == here) throw std::runtime_error("thrown in " + here);
  }
  std::string where_;
};

}  // namespace

TENON_PLUGIN_LIBRARY("sample", define<Affine>("test", "Affine", "1"), define<Twice>("test", "Twice", "1"),
                     define<Packed>("test", "Packed", "2.0"), define<Throws>("test", "Throws", "1"))
