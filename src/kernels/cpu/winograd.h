// conv with windows of 3 x 3 by Winograd's minimal filtering (Lavin & Gray, arXiv:1509.09308): a tile of m x m pixels
// of y is A^T [(G w G^T) * (B^T x B)] A of the (m + 2) x (m + 2) pixels of x below it. Its (m + 2)^2 points are
// products over the channels, 2.25 (m = 2) or 4 (m = 4) times fewer multiplications than taps need.
//
// The points are 0, ±1 and infinity for m = 2, and 0, ±√½, ±√2 and infinity for m = 4, whose rounding errors are a
// third of those of the usual 0, ±1, ±2. A tile's pixels depend on its own window alone, so neither on other images nor
// on the thread count; but a NaN or infinity in x makes NaN of every pixel of the tiles whose windows hold it.
#pragma once

#include "kernels/cpu/cpu_kernel.h"

namespace tenon::kernels::cpu {

class WinogradKernel final : public CpuKernel {
 public:
  // `outputs`: m, 2 or 4. `always`: also where another kernel is estimated to be faster.
  explicit WinogradKernel(int outputs, bool always = false) : outputs_(outputs), always_(always) {}

  std::string_view id() const override;
  Support supports(const Problem&) const override;
  bool in_place(const Problem&, int index) const override;
  std::optional<TensorType> packed_type(const Problem&, int index) const override;
  Result<Tensor> prepack(const Problem&, int index, const Tensor&) const override;

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem&, const Config&, const VectorCode&) const override;

 private:
  int outputs_;
  bool always_;
};

}  // namespace tenon::kernels::cpu
