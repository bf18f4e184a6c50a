// The scalar functions of the elementwise ops, once, for their references and for programs of `pointwise`.
//
// T is float, double or, where a function takes integers, an integer type; integers wrap. A function with attributes is
// constructed from them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "ops/op_def.h"

namespace tenon::ops::fn {

// ---- One argument ----------------------------------------------------------------------------------------------------

struct Neg {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(x));
    } else {
      return -x;
    }
  }
};
struct Abs {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return x < T{0} ? Neg()(x) : x;
    } else {
      return std::abs(x);
    }
  }
};
struct Sign {
  template <class T>
  T operator()(T x) const { return static_cast<T>((x > T{0}) - (x < T{0})); }
};
struct Exp {
  template <class T>
  T operator()(T x) const { return std::exp(x); }
};
struct Log {
  template <class T>
  T operator()(T x) const { return std::log(x); }
};
struct Sqrt {
  template <class T>
  T operator()(T x) const { return std::sqrt(x); }
};
struct Rsqrt {
  template <class T>
  T operator()(T x) const { return T{1} / std::sqrt(x); }
};
struct Reciprocal {
  template <class T>
  T operator()(T x) const { return T{1} / x; }
};
struct Erf {
  template <class T>
  T operator()(T x) const { return std::erf(x); }
};
struct Sin {
  template <class T>
  T operator()(T x) const { return std::sin(x); }
};
struct Cos {
  template <class T>
  T operator()(T x) const { return std::cos(x); }
};
struct Tan {
  template <class T>
  T operator()(T x) const {
    return std::tan(x);
  }
};
struct Asin {
  template <class T>
  T operator()(T x) const {
    return std::asin(x);
  }
};
struct Acos {
  template <class T>
  T operator()(T x) const {
    return std::acos(x);
  }
};
struct Atan {
  template <class T>
  T operator()(T x) const {
    return std::atan(x);
  }
};
struct Sinh {
  template <class T>
  T operator()(T x) const {
    return std::sinh(x);
  }
};
struct Cosh {
  template <class T>
  T operator()(T x) const {
    return std::cosh(x);
  }
};
struct Asinh {
  template <class T>
  T operator()(T x) const {
    return std::asinh(x);
  }
};
struct Acosh {
  template <class T>
  T operator()(T x) const {
    return std::acosh(x);
  }
};
struct Atanh {
  template <class T>
  T operator()(T x) const {
    return std::atanh(x);
  }
};
struct Tanh {
  template <class T>
  T operator()(T x) const { return std::tanh(x); }
};
struct Sigmoid {
  template <class T>
  T operator()(T x) const { return T{1} / (T{1} + std::exp(-x)); }
};
struct Softplus {
  template <class T>
  T operator()(T x) const { return (x > T{0} ? x : T{0}) + std::log1p(std::exp(-std::abs(x))); }
};
struct Relu {
  template <class T>
  T operator()(T x) const { return x < T{0} ? T{0} : x; }  // NaN stays
};
struct LeakyRelu {
  double alpha = 0.01;
  LeakyRelu() = default;
  explicit LeakyRelu(double a) : alpha(a) {}
  explicit LeakyRelu(const Attrs& attrs) : alpha(attrs.number("alpha")) {}
  template <class T>
  T operator()(T x) const { return x < T{0} ? static_cast<T>(alpha) * x : x; }
};
struct GeluErf {
  // x Phi(x); erfc keeps the left tail's digits.
  template <class T>
  T operator()(T x) const { return T{0.5} * x * std::erfc(-x * static_cast<T>(0.70710678118654752440)); }
};
struct GeluTanh {
  template <class T>
  T operator()(T x) const {
    return T{0.5} * x * (T{1} + std::tanh(static_cast<T>(0.79788456080286535588) * (x + static_cast<T>(0.044715) * x * x * x)));
  }
};
struct GeluSigmoid {
  template <class T>
  T operator()(T x) const { return x * Sigmoid()(static_cast<T>(1.702) * x); }
};
struct Gelu {
  enum class Form { kErf, kTanh, kSigmoid };
  Form form = Form::kErf;
  explicit Gelu(const Attrs& attrs) {
    const std::string& text = attrs.text("approximate");
    form = text == "tanh" ? Form::kTanh : (text == "sigmoid" ? Form::kSigmoid : Form::kErf);
  }
  template <class T>
  T operator()(T x) const { return form == Form::kErf ? GeluErf()(x) : (form == Form::kTanh ? GeluTanh()(x) : GeluSigmoid()(x)); }
};
struct Silu {
  template <class T>
  T operator()(T x) const { return x * Sigmoid()(x); }
};
struct Relu6 {
  template <class T>
  T operator()(T x) const {
    return std::clamp(x, T{0}, T{6});
  }  // NaN stays
};
struct HardSigmoid {
  template <class T>
  T operator()(T x) const {
    return std::clamp(x / T{6} + T(0.5), T{0}, T{1});
  }  // NaN stays
};
struct Floor {
  template <class T>
  T operator()(T x) const { return std::floor(x); }
};
struct Ceil {
  template <class T>
  T operator()(T x) const { return std::ceil(x); }
};
struct Round {
  template <class T>
  T operator()(T x) const { return std::rint(x); }  // halves to even
};
struct IsNan {
  template <class T>
  bool operator()(T x) const { return std::isnan(x); }
};

// ---- Two arguments ---------------------------------------------------------------------------------------------------

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    } else {
      return a + b;
    }
  }
};
struct Sub {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
    } else {
      return a - b;
    }
  }
};
struct Mul {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else {
      return a * b;
    }
  }
};
struct Div {
  // Integers truncate; b is not 0.
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      return b == T{-1} ? Neg()(a) : static_cast<T>(a / b);
    } else {
      return static_cast<T>(a / b);
    }
  }
};
struct Pow {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b < T{0}) return a == T{1} ? a : (Neg()(a) == T{1} ? (b % 2 == 0 ? T{1} : a) : T{0});
      T power{1};
      for (auto n = static_cast<uint64_t>(b); n > 0; n >>= 1, a = Mul()(a, a))
        if (n & 1) power = Mul()(power, a);
      return power;
    } else {
      return std::pow(a, b);
    }
  }
};
struct Mod {
  bool fmod = false;  // the sign of a, as C; otherwise the sign of b, as Python
  Mod() = default;
  explicit Mod(const Attrs& attrs) : fmod(attrs.integer("fmod") != 0) {}
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if constexpr (std::is_signed_v<T>)
        if (b == T{-1}) return T{0};
      const T r = static_cast<T>(a % b);
      return !fmod && r != T{0} && (r < T{0}) != (b < T{0}) ? static_cast<T>(r + b) : r;
    } else {
      const T r = std::fmod(a, b);
      return !fmod && r != T{0} && (r < T{0}) != (b < T{0}) ? r + b : r;
    }
  }
};
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      if (std::isnan(a)) return a;
    return a < b ? a : b;  // NaN in either gives NaN
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      if (std::isnan(a)) return a;
    return a > b ? a : b;
  }
};
struct Equal {
  template <class T>
  bool operator()(T a, T b) const { return a == b; }
};
struct Less {
  template <class T>
  bool operator()(T a, T b) const { return a < b; }
};
struct LessEqual {
  template <class T>
  bool operator()(T a, T b) const { return a <= b; }
};
struct Greater {
  template <class T>
  bool operator()(T a, T b) const { return a > b; }
};
struct GreaterEqual {
  template <class T>
  bool operator()(T a, T b) const { return a >= b; }
};
// On bool, whose bytes in memory may be any nonzero value.
struct And {
  bool operator()(uint8_t a, uint8_t b) const { return a != 0 && b != 0; }
};
struct Or {
  bool operator()(uint8_t a, uint8_t b) const { return a != 0 || b != 0; }
};
struct Xor {
  bool operator()(uint8_t a, uint8_t b) const { return (a != 0) != (b != 0); }
};

// A function object from attributes, for those that have some.
template <class F>
F make(const Attrs& attrs) {
  if constexpr (std::is_constructible_v<F, const Attrs&>) {
    return F(attrs);
  } else {
    return F();
  }
}

}  // namespace tenon::ops::fn
