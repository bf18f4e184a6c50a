// Any bytes as a tokenizer.json.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = tenon::text::Tokenizer::from_json(bytes, "fuzz");
  // The file's own bytes are the text too: they hold its tokens, and often are no UTF-8.
  if (tokenizer.ok()) tenon::fuzz::use(**tokenizer, {"Hello, wörld! [MASK] 中国\xFF e\u0301\u0323", bytes.substr(0, 300)});
  return 0;
}
