// The table of one instruction set.
#pragma once

#include "kernels/cpu/apply-inl.h"
#include "kernels/cpu/conv-inl.h"
#include "kernels/cpu/factors-inl.h"
#include "kernels/cpu/gemm-inl.h"
#include "kernels/cpu/ids-inl.h"
#include "kernels/cpu/rows-inl.h"
#include "kernels/cpu/winograd-inl.h"

namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr VectorCode table(Isa isa) {
  VectorCode t;
  const bool rounds = isa >= Isa::kAvx512Bf16;
  t.isa = isa;
  t.tile_rows = kTileRows;
  t.tile_panels = kTilePanels;
  t.int8 = int8_code(isa);
  t.bf16 = bf16_code(isa);
  t.int8_quads = int8_quads_code(isa);
  t.gemm = gemm;
  t.gather = gather;
  t.gather_shapes[0] = {kTileRows, kTilePanels};
  t.gather_shapes[1] = {kWideRows, kWidePanels};
  t.window = window;
  t.winograd[0] = {4, winograd_input<4>, winograd_output<4>};
  t.winograd[1] = {2, winograd_input<2>, winograd_output<2>};
  t.epilogue = rounds ? epilogue<true> : epilogue<false>;
  t.transpose_rows = transpose_rows;
  t.row_range = row_range;
  t.quantize_row = quantize_row;
  t.round = round;
  t.round_sums = rounds ? round_sums<true> : round_sums<false>;
  t.widen = widen;
  t.widen_int8 = widen_int8;
  t.widen_bf16 = widen_bf16;
  t.pack_pairs = pack_pairs;
  t.softmax_block = softmax_block;
  t.softmax_rows = rounds ? softmax_rows<true> : softmax_rows<false>;
  t.pick = pick;
  t.scale = scale;
  t.add_scaled = add_scaled;
  t.layer_norm = layer_norm;
  t.rms_norm = rms_norm;
  t.softmax = softmax;
  t.reduce = reduce;
  t.apply = apply;
  t.count_ones = count_ones;
  t.ids_within = ids_within;
  t.run_length = run_length;
  t.iota = iota;
  return t;
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
