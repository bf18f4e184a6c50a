// Which work belongs on the host though a GPU has a kernel for it.
#pragma once

#include "ir/graph.h"

namespace tenon::plan {

// Integers are computed on the host, where sizes and errors are known. Not so an expansion that is there only for steps that
// compute floats: what it reads is smaller than what it makes, so it goes along with them.
bool stays_on_host(const ir::Node& node);

}  // namespace tenon::plan
