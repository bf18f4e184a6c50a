// Functions of masks, ids and row numbers, which are integers.
#pragma once

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

// body(vector) for x [count], the last one filled up with zeros.
template <class DI, class Body>
HWY_INLINE void for_vectors(DI di, const hn::TFromD<DI>* x, int64_t count, Body&& body) {
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(DI()));
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) body(hn::LoadU(di, x + i));
  if (i == count) return;
  const auto rest = hn::FirstN(di, static_cast<size_t>(count - i));
  body(hn::MaskedLoad(rest, di, x + i));
}

int64_t count_ones(const int64_t* mask, int64_t count) {
  const hn::ScalableTag<int64_t> di;
  auto sum = hn::Zero(di), any = hn::Zero(di);
  for_vectors(di, mask, count, [&](auto v) {
    sum = hn::Add(sum, v);
    any = hn::Or(any, v);
  });
  const bool valid = hn::AllTrue(di, hn::Eq(hn::Or(any, hn::Set(di, 1)), hn::Set(di, 1)));
  return valid ? hn::GetLane(hn::SumOfLanes(di, sum)) : -1;
}

// Whether all are 0 to `most`.
template <class Id>
bool all_within(const Id* ids, int64_t count, Id most) {
  const hn::ScalableTag<Id> di;
  auto signs = hn::Zero(di);  // of the ids, and of what they fall short by
  for_vectors(di, ids, count, [&](auto id) { signs = hn::Or(signs, hn::Or(id, hn::Sub(hn::Set(di, most), id))); });
  return hn::AllFalse(di, hn::Lt(signs, hn::Zero(di)));
}

bool ids_within(const void* ids, bool wide, int64_t count, int64_t limit) {
  if (limit < 1) return count == 0;
  if (wide) return all_within(static_cast<const int64_t*>(ids), count, limit - 1);
  constexpr int64_t kMost = INT32_MAX;
  return all_within(static_cast<const int32_t*>(ids), count, static_cast<int32_t>(limit - 1 < kMost ? limit - 1 : kMost));
}

int64_t run_length(const int32_t* rows, int64_t count) {
  const hn::ScalableTag<int32_t> di;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<int32_t>()));
  if (count == 0) return 0;
  auto next = hn::Iota(di, rows[0]);
  int64_t i = 0;
  for (; i + kStep <= count && hn::AllTrue(di, hn::Eq(hn::LoadU(di, rows + i), next)); i += kStep)
    next = hn::Add(next, hn::Set(di, static_cast<int32_t>(kStep)));
  while (i < count && static_cast<uint32_t>(rows[i]) - static_cast<uint32_t>(rows[0]) == static_cast<uint32_t>(i)) ++i;
  return i;
}

void iota(int32_t first, int64_t count, int32_t* y) {
  const hn::ScalableTag<int32_t> di;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<int32_t>()));
  auto next = hn::Iota(di, first);
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    hn::StoreU(next, di, y + i);
    next = hn::Add(next, hn::Set(di, static_cast<int32_t>(kStep)));
  }
  hn::BlendedStore(next, hn::FirstN(di, static_cast<size_t>(count - i)), di, y + i);
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
