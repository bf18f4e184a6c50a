#include <gtest/gtest.h>

#include <set>

#include "ops/op_def.h"

namespace tenon::ops {
namespace {

std::vector<Op> all_ops() {
  std::vector<Op> list;
  for (int i = 0; i < ir::kOpCount; ++i) list.push_back(static_cast<Op>(i));
  return list;
}

class OpTable : public testing::TestWithParam<Op> {};

TEST_P(OpTable, HasADefinitionWithInferenceAndReference) {
  const OpDef& def = op_def(GetParam());
  EXPECT_EQ(def.op, GetParam());
  EXPECT_NE(def.infer, nullptr);
  EXPECT_NE(def.reference, nullptr);
  EXPECT_FALSE(def.summary.empty());
  EXPECT_FALSE(def.outputs.empty());
}

TEST_P(OpTable, NamesItsInputsAndAttributesOnce) {
  const OpDef& def = op_def(GetParam());
  std::set<std::string> names;
  for (size_t i = 0; i < def.inputs.size(); ++i) {
    EXPECT_TRUE(names.insert(def.inputs[i].name).second) << def.inputs[i].name;
    EXPECT_TRUE(def.inputs[i].arity != Arity::kVariadic || i + 1 == def.inputs.size()) << "only the last input may be variadic";
  }
  std::set<std::string> attrs;
  for (const AttrDef& attr : def.attrs) EXPECT_TRUE(attrs.insert(attr.name).second) << attr.name;
}

TEST_P(OpTable, SourcesHaveNoInputsAndAllOthersHaveSome) {
  const bool source = GetParam() == Op::k_constant || GetParam() == Op::k_dims || GetParam() == Op::k_iota;
  EXPECT_EQ(op_def(GetParam()).inputs.empty(), source);
}

TEST_P(OpTable, NameParsesBack) { EXPECT_EQ(ir::parse_op(ir::op_name(GetParam())), GetParam()); }

INSTANTIATE_TEST_SUITE_P(EveryOp, OpTable, testing::ValuesIn(all_ops()),
                         [](const auto& param) { return std::string(ir::op_name(param.param)); });

}  // namespace
}  // namespace tenon::ops
