// Random tensors and sizes from one seed per case, printed when the case fails:
//
//   Random random;               // fresh each run; TENON_TEST_SEED=123 repeats one
//   SCOPED_TRACE(random.trace());
//   ir::Tensor x = random.tensor(DType::kF32, {2, 3});
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "ir/tensor.h"

namespace tenon::test {

class Random {
 public:
  Random() : Random(fresh_seed()) {}
  explicit Random(uint64_t seed) : seed_(seed), engine_(seed) {}

  uint64_t seed() const { return seed_; }
  std::string trace() const { return "TENON_TEST_SEED=" + std::to_string(seed_); }
  std::mt19937_64& engine() { return engine_; }

  // Uniform in [low, high], both ends included.
  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  bool chance(double probability) { return real(0, 1) < probability; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(integer(0, static_cast<int64_t>(from.size()) - 1))];
  }

  // Elements are uniform in [low, high]: integers for integer types, 0 and 1 for bool.
  ir::Tensor tensor(DType dtype, std::vector<int64_t> shape, double low = -2, double high = 2) {
    std::byte* data = nullptr;
    ir::Tensor t = *ir::Tensor::allocate(dtype, std::move(shape), &data);
    const int64_t n = t.numel();
    visit_dtype(dtype, [&]<class T>() {
      for (int64_t i = 0; i < n; ++i) {
        T v{};
        if constexpr (std::is_same_v<T, bool>) {
          v = integer(0, 1) != 0;
        } else if constexpr (std::is_integral_v<T>) {
          v = static_cast<T>(integer(static_cast<int64_t>(std::is_unsigned_v<T> && low < 0 ? 0 : low), static_cast<int64_t>(high)));
        } else {
          v = convert<T>(real(low, high));
        }
        std::memcpy(data + static_cast<size_t>(i) * sizeof(T), &v, sizeof(T));
      }
    });
    return t;
  }

 private:
  static uint64_t fresh_seed() {
    if (const char* text = std::getenv("TENON_TEST_SEED")) return std::strtoull(text, nullptr, 10);
    return std::random_device{}();
  }
  uint64_t seed_;
  std::mt19937_64 engine_;
};

}  // namespace tenon::test
