// An operator that another library has, too.
#include <tenon/plugin.h>

namespace {

class Affine : public tenon::plugin::Operator {
 public:
  explicit Affine(const tenon::plugin::Attributes&) {}
  explicit Affine(tenon::plugin::State) {}
  std::vector<tenon::plugin::OutputType> outputs(std::span<const tenon::plugin::TensorDesc>) const override {
    return {};
  }
  void run(const tenon::plugin::Run&) const override {}
};

}  // namespace

TENON_PLUGIN_LIBRARY("conflicting", tenon::plugin::define<Affine>("test", "Affine", "7"))
