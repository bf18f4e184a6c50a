// What the inputs of a graph mean, as far as names and uses tell.
#pragma once

#include <string>
#include <string_view>

#include "ir/graph.h"

namespace tenon::plan {

// "input_ids", "attention_mask", "token_type_ids" or "position_ids" for the names that exporters give them; else "".
std::string usual_role(std::string_view name);

// What the ids of an input must be below: the least number of rows of the tables that they index. 0: it indexes none.
int64_t index_limit(const ir::Value& input);

}  // namespace tenon::plan
