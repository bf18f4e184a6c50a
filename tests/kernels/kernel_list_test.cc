#include <set>

#include "kernels/reference/reference_kernel.h"
#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::find_kernel;
using kernels::kernel_list;
using kernels::Target;

TEST(KernelList, IsClosedByTheReference) {
  for (const Target target : {Target::kReference, Target::kCpu})
    EXPECT_EQ(kernel_list(target).back(), &kernels::reference_kernel());
}

TEST(KernelList, FindsEveryKernelByItsId) {
  std::set<std::string_view> ids;
  for (const kernels::Kernel* kernel : kernel_list(Target::kCpu)) {
    EXPECT_EQ(find_kernel(kernel->id()), kernel);
    EXPECT_TRUE(ids.insert(kernel->id()).second) << kernel->id() << " stands twice";
  }
  EXPECT_EQ(find_kernel(kernels::kReferenceId), &kernels::reference_kernel());
  EXPECT_EQ(find_kernel("cpu.nonsense"), nullptr);
}

TEST(KernelList, EveryRefusalHasAReason) {
  Random random;
  const auto built = build({Op::k_cumsum, {random.tensor(DType::kF32, {3})}, {{"axis", int64_t{0}}}});
  ASSERT_TRUE(built.ok()) << built.status().message();
  for (const kernels::Kernel* kernel : kernel_list(Target::kCpu)) {
    const kernels::Support support = kernel->supports((*built)->problem);
    EXPECT_EQ(static_cast<bool>(support), kernel == &kernels::reference_kernel()) << kernel->id();
    const auto launcher = kernel->prepare((*built)->problem, {});
    if (support) continue;
    ASSERT_FALSE(launcher.ok());
    EXPECT_EQ(launcher.status().code(), ErrorCode::kUnsupported);
    EXPECT_THAT(launcher.status().message(), testing::HasSubstr(support.reason));
  }
}

TEST(Isa, ScalarCodeIsAlwaysThere) {
  EXPECT_EQ(available_isas().back(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(available_isas().begin(), available_isas().end(), std::greater<>()));
}

}  // namespace
}  // namespace tenon::test
