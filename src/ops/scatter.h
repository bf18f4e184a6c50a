// How an update joins what stands at its index already.
#pragma once

#include "ops/scalar_functions.h"
#include "ops/support.h"

namespace tenon::ops {

// Errors: bad-model (no such reduction, or none for the dtype).
inline Status check_reduction(const InferContext& c) {
  const std::string& name = c.attrs.text("reduction");
  if (name == "none") return {};
  if (name != "add" && name != "mul" && name != "min" && name != "max")
    return error(ErrorCode::kBadModel, "unknown reduction \"{}\"", name);
  return check_dtype(c, 0, DTypes::kNumber);
}

// Calls scatter(join) with a function that joins element `from` of updates to element `to` of y.
template <class Scatter>
Status with_reduction(const std::string& name, const TensorArg& updates, const TensorArg& y, Scatter&& scatter) {
  if (name == "none") {
    return visit_width(y.dtype, [&]<class T>() -> Status {
      return scatter([&](int64_t from, int64_t to) { y.as<T>()[to] = updates.as<T>()[from]; });
    });
  }
  return visit_number(y.dtype, [&]<class T>() -> Status {
    const auto with = [&](auto f) {
      return scatter([&, f](int64_t from, int64_t to) {
        T& at = y.as<T>()[to];
        at = static_cast<T>(f(static_cast<Compute<T>>(at), static_cast<Compute<T>>(updates.as<T>()[from])));
      });
    };
    if (name == "add") return with(fn::Add());
    if (name == "mul") return with(fn::Mul());
    return name == "min" ? with(fn::Min()) : with(fn::Max());
  });
}

inline AttrDef reduction_attr() {
  return {"reduction", std::string("none"), false,
          "none: the last update wins; add, mul, min or max: with what is there"};
}

}  // namespace tenon::ops
