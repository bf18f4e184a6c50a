// linear by NVIDIA's cuBLASLt, as configs of the kernels of linear that builds with --tactics cublaslt may choose where they
// were timed faster. Only what its epilogues mean exactly: bias, ReLU or GELU in its tanh form, or bias and a residual.
//
// It counts columns first: y [rows, N] is its N x rows, W as packed [N, K] its K x N, transposed.
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

using tenon::cuda::CublasLt, tenon::cuda::CublasLtHandle, tenon::cuda::CublasLtHeuristic, tenon::cuda::CublasLtObject;

// cublasLt.h: cublasComputeType_t, cudaDataType_t, cublasOperation_t, cublasLtMatmulDescAttributes_t,
// cublasLtMatmulPreferenceAttributes_t, cublasLtEpilogue_t.
enum { kCompute32F = 68, kCompute32FFastTf32 = 77 };
enum { kReal32F = 0, kReal16F = 2, kReal16BF = 14 };
constexpr int32_t kTransposed = 1;
enum { kTransA = 3, kEpilogue = 7, kBiasPointer = 8 };
enum { kMaxWorkspace = 1, kAlignmentA = 5, kAlignmentD = 8 };
enum : uint32_t { kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32 };

// Which of the library's suggestions, and the scratch that it may have.
struct CublasLtChoice {
  const char* text;
  int rank;
  uint64_t workspace;
};
constexpr uint64_t kWorkspace = uint64_t{32} << 20;
constexpr CublasLtChoice kCublasLtChoices[] = {{"cublaslt", 0, kWorkspace},
                               {"cublaslt,rank=1", 1, kWorkspace},
                               {"cublaslt,rank=2", 2, kWorkspace},
                               {"cublaslt,workspace=0", 0, 0}};

// The library's epilogue for a linear; nothing: it has none that means the same.
std::optional<uint32_t> epilogue_of(const Problem& problem) {
  const std::string& activation = problem.attrs.text("activation");
  const bool bias = problem.has(2), residual = problem.has(3);
  if (residual && !activation.empty()) return std::nullopt;  // it adds before it activates
  const uint32_t with_bias = bias ? uint32_t{kEpilogueBias} : 0;
  if (activation == "relu") return kEpilogueRelu | with_bias;
  if (activation == "gelu_tanh") return kEpilogueGelu | with_bias;
  if (!activation.empty()) return std::nullopt;
  return bias ? kEpilogueBias : kEpilogueDefault;
}

Status check_cublaslt(int result, const char* what) {
  return result == 0 ? Status() : error(ErrorCode::kUnsupported, "cuBLASLt: {}: status {}", what, result);
}

using Destroy = int (*)(CublasLtObject);
using Object = std::unique_ptr<void, Destroy>;

// The descriptions of one product.
struct CublasLtProduct {
  Object product, w, x, y;
};

class CublasLtLauncher final : public Launcher {
 public:
  CublasLtLauncher(const CublasLt& api, CublasLtHandle handle, const Problem& problem, const CublasLtChoice& choice)
      : api_(api),
        handle_(handle),
        choice_(choice),
        columns_(problem.inputs[1].shape[1].value()),
        depth_(problem.inputs[1].shape[0].value()),
        epilogue_(*epilogue_of(problem)),
        compute_(problem.attrs.text("factors") == "tf32" ? kCompute32FFastTf32 : kCompute32F),
        type_(problem.inputs[0].dtype == DType::kF32 ? kReal32F : problem.inputs[0].dtype == DType::kF16 ? kReal16F : kReal16BF) {}

  size_t workspace(const RunArgs& args, int) const override {
    const auto operands = linear_operands(args, depth_);
    if (!operands.ok() || operands->rows == 0) return 0;
    const auto found = algorithm(operands->rows);
    return found.ok() ? found->workspace : 0;  // launch says why
  }

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(const LinearOperands o, linear_operands(args, depth_));
    if (o.rows == 0) return {};
    TENON_ASSIGN(const CublasLtHeuristic found, algorithm(o.rows));
    TENON_ASSIGN(const CublasLtProduct p, describe(o.rows, o.bias));
    const auto memory = [](DevicePtr data) { return reinterpret_cast<void*>(data); };
    const float one = 1, residual = o.residual != 0 ? 1 : 0;
    return check_cublaslt(api_.cublasLtMatmul(handle_, p.product.get(), &one, memory(o.w), p.w.get(), memory(o.x), p.x.get(), &residual,
                                     memory(o.residual != 0 ? o.residual : o.y), p.y.get(), memory(o.y), p.y.get(),
                                     &found.algorithm, args.workspace, found.workspace, static_cast<Stream>(args.stream)),
                 "a product");
  }

 private:
  Result<Object> matrix(int64_t rows, int64_t columns) const {
    CublasLtObject made = nullptr;
    TENON_TRY(check_cublaslt(api_.cublasLtMatrixLayoutCreate(&made, type_, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows), "a matrix"));
    return Object(made, api_.cublasLtMatrixLayoutDestroy);
  }

  Result<CublasLtProduct> describe(int64_t rows, DevicePtr bias) const {
    CublasLtObject made = nullptr;
    TENON_TRY(check_cublaslt(api_.cublasLtMatmulDescCreate(&made, compute_, kReal32F), "a description"));
    Object product(made, api_.cublasLtMatmulDescDestroy);
    const auto set = [&](int attribute, const auto& value) {
      return check_cublaslt(api_.cublasLtMatmulDescSetAttribute(made, attribute, &value, sizeof value), "an attribute");
    };
    TENON_TRY(set(kTransA, kTransposed));
    TENON_TRY(set(kEpilogue, epilogue_));
    if ((epilogue_ & kEpilogueBias) != 0) TENON_TRY(set(kBiasPointer, bias));
    TENON_ASSIGN(Object w, matrix(depth_, columns_));
    TENON_ASSIGN(Object x, matrix(depth_, rows));
    TENON_ASSIGN(Object y, matrix(columns_, rows));
    return CublasLtProduct{std::move(product), std::move(w), std::move(x), std::move(y)};
  }

  // For so many rows; asked once for each count, as asking takes longer than a launch. The last one where there are fewer.
  Result<CublasLtHeuristic> algorithm(int rows) const {
    const std::lock_guard lock(mutex_);
    if (const auto it = known_.find(rows); it != known_.end()) return it->second;
    constexpr DevicePtr kSomeBias = 256;  // what matters of it is how it is aligned
    TENON_ASSIGN(const CublasLtProduct p, describe(rows, kSomeBias));
    CublasLtObject made = nullptr;
    TENON_TRY(check_cublaslt(api_.cublasLtMatmulPreferenceCreate(&made), "a preference"));
    const Object preference(made, api_.cublasLtMatmulPreferenceDestroy);
    const auto set = [&](int attribute, const auto& value) {
      return check_cublaslt(api_.cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value), "a preference");
    };
    TENON_TRY(set(kMaxWorkspace, choice_.workspace));
    constexpr uint32_t kAlignment = 16;  // bytes, of all memory that a step is given
    for (int operand = kAlignmentA; operand <= kAlignmentD; ++operand) TENON_TRY(set(operand, kAlignment));
    CublasLtHeuristic found[8] = {};
    int count = 0;
    TENON_TRY(check_cublaslt(api_.cublasLtMatmulAlgoGetHeuristic(handle_, p.product.get(), p.w.get(), p.x.get(), p.y.get(), p.y.get(), made,
                                                        choice_.rank + 1, found, &count),
                    "looking for an algorithm"));
    while (count > 0 && found[count - 1].state != 0) --count;
    if (count == 0) return error(ErrorCode::kUnsupported, "cuBLASLt has no algorithm for this product of {} rows", rows);
    return known_[rows] = found[count - 1];
  }

  const CublasLt& api_;
  CublasLtHandle handle_;
  CublasLtChoice choice_;
  int64_t columns_, depth_;
  uint32_t epilogue_;
  int compute_, type_;
  mutable std::mutex mutex_;
  mutable std::map<int, CublasLtHeuristic> known_;  // by rows
};

const CublasLtChoice* find_cublaslt_choice(std::string_view text) {
  for (const CublasLtChoice& choice : kCublasLtChoices)
    if (choice.text == text) return &choice;
  return nullptr;
}

}  // namespace

std::vector<Config> LinearKernel::library_configs(const Problem& problem, std::string_view library) const {
  std::vector<Config> configs;
  if (library != "cublaslt" || problem.op != Op::k_linear || !epilogue_of(problem)) return configs;
  for (const CublasLtChoice& choice : kCublasLtChoices) configs.push_back({.text = choice.text, .numerics = choice.text});
  return configs;
}

bool is_cublaslt(const Config& config) { return find_cublaslt_choice(config.text) != nullptr; }

Result<std::unique_ptr<Launcher>> load_cublaslt(const Problem& problem, const Config& config, const Device& device) {
  const CublasLtChoice* choice = find_cublaslt_choice(config.text);
  if (choice == nullptr || problem.op != Op::k_linear || !epilogue_of(problem))
    return error(ErrorCode::kInternal, "cuBLASLt has no config '{}' of this product", config.text);
  TENON_ASSIGN(const CublasLt* api, tenon::cuda::cublaslt());
  TENON_ASSIGN(const CublasLtHandle handle, tenon::cuda::cublaslt_handle(device));
  return std::unique_ptr<Launcher>(std::make_unique<CublasLtLauncher>(*api, handle, problem, *choice));
}

}  // namespace tenon::kernels::cuda
