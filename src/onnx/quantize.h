// Arithmetic of quantised numbers, in ordinary ops.
#pragma once

#include "onnx/call.h"

namespace tenon::onnx {

// saturate(round(x / scale) + zero) as `to`; x and scale are f32, zero may be null. Narrow floats have no zero point
// and round in the cast, where `saturate` says what becomes of values beyond their range.
Result<Value*> quantize(Call&, Value* x, Value* scale, Value* zero, DType to, bool saturate = true);
// x - zero as i32, exact; zero may be null.
Result<Value*> centre(Call&, Value* x, Value* zero);
// u8 with the scale and zero point that x's own range, widened to hold 0, asks for.
struct Quantized {
  Value *values = nullptr, *scale = nullptr, *zero = nullptr;
};
Result<Quantized> quantize_dynamically(Call&, Value* x);
// (x - zero) * scale as f32.
Result<Value*> dequantize(Call&, Value* x, Value* scale, Value* zero);
// The scale or zero point of a product's left factor: a list has one number per row. Null stays null.
Result<Value*> per_row(Call&, Value* parameter);
// sums * (a * b / y), rounded, shifted by y's zero point: from i32 sums back to numbers of y's type.
Result<Value*> requantize(Call&, Value* sums, Value* a, Value* b, Value* y, Value* zero);

}  // namespace tenon::onnx
