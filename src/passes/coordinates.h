// Where an element of a value is read from: coordinates as expressions over sizes and index symbols, followed backwards
// through what moves elements.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace tenon::passes {

using ir::Dim;
using ir::Value;

// One coordinate of an element: an expression over sizes and the index symbols below, or free: any position of the
// axis.
struct Coordinate {
  Dim index;
  bool free = false;
  static Coordinate any() { return {Dim(0), true}; }
  static Coordinate batch();  // the element's batch index b
  static Coordinate head();   // its head h
  static Coordinate query();  // its query position q
  static Coordinate key();    // its key position k
};

// Where an operand is read when the result is read at `at`: broadcasting aligns axes at the end.
std::vector<Coordinate> broadcast_at(const Value& operand, const std::vector<Coordinate>& at);

// What index symbols stay below.
class IndexBounds {
 public:
  // Of the symbols that read `v` at `at`.
  static IndexBounds of(const Value& v, const std::vector<Coordinate>& at);
  // The index's size, if it is one symbol.
  const Dim* find(const Dim& index) const;
  // Where `from` is read when its reshaped form `to` is read at `at`; nothing where that can't be seen.
  std::optional<std::vector<Coordinate>> through_reshape(const Value& from, const Value& to,
                                                         const std::vector<Coordinate>& at) const;

 private:
  std::optional<std::pair<Dim, Dim>> split(const Dim& flat, const Dim& size) const;
  std::vector<std::pair<Dim, Dim>> bounds_;
};

}  // namespace tenon::passes
