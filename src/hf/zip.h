// Zip archives of stored (not compressed) entries, which is what torch.save writes; zip64 included.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "base/status.h"

namespace tenon::hf {

// Contents by name, in place. Errors, without the file's name: bad-model (no or damaged directory, entries that overlap
// or lie outside, a name given twice, a wrong CRC), unsupported (compressed or encrypted entries).
Result<std::map<std::string, std::span<const std::byte>>> read_zip(std::span<const std::byte> file);

}  // namespace tenon::hf
