// Plans and Metadata as FlatBuffers (engine.fbs) and back.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/metadata.h"
#include "engine/plan.h"

namespace tenon::engine {

// Deterministic: equal arguments give equal bytes. At least one plan.
std::vector<std::byte> encode_tables(std::span<const Plan> plans, const Metadata& metadata);
std::vector<std::byte> encode_texts(const Metadata& metadata);

// The opposite way. Bytes are verified first; indices inside the plans are not (check_plan). Errors: bad-engine.
Status decode_tables(std::span<const std::byte> bytes, std::vector<Plan>& plans, Metadata& metadata);
Status decode_texts(std::span<const std::byte> bytes, Metadata& metadata);

}  // namespace tenon::engine
