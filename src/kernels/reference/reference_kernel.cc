#include "kernels/reference/reference_kernel.h"

namespace tenon::kernels {
namespace {

class ReferenceLauncher final : public Launcher {
 public:
  explicit ReferenceLauncher(const Problem& problem)
      : attrs_(problem.attrs), reference_(ops::op_def(problem.op).reference) {}
  Status launch(const RunArgs& args) const override { return reference_(attrs_, args); }

 private:
  Attrs attrs_;
  Status (*reference_)(const Attrs&, const RunArgs&);
};

class ReferenceKernel final : public Kernel {
 public:
  std::string_view id() const override { return kReferenceId; }
  Support supports(const Problem& problem) const override {
    if (problem.op == Op::k_plugin) return Support::no("operators of plugins run in kernels of their own");
    if (ops::op_def(problem.op).reference == nullptr) return Support::no("the op is not computed at run time");
    return Support::yes();
  }
  Result<std::unique_ptr<Launcher>> prepare(const Problem& problem, const Config&) const override {
    if (Support s = supports(problem); !s)
      return error(ErrorCode::kUnsupported, "{}: {}", ir::op_name(problem.op), s.reason);
    return std::unique_ptr<Launcher>(std::make_unique<ReferenceLauncher>(problem));
  }
};

}  // namespace

const Kernel& reference_kernel() {
  static const ReferenceKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels
