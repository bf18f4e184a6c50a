// Any bytes as a tokenizer.json; a tokenizer that loads must encode, write itself and read itself again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto loaded = tenon::text::Tokenizer::from_json(bytes, "fuzz");
  if (!loaded.ok()) return 0;
  const tenon::text::Tokenizer& tokenizer = **loaded;
  // The file's own bytes are the text too: they hold its tokens, and often are no UTF-8.
  for (const std::string_view text :
       {std::string_view("Hello, wörld! [MASK] 中国\xFF e\u0301\u0323"), bytes.substr(0, 300)}) {
    const tenon::Encoding row = tokenizer.encode(text);
    tokenizer.encode_pair(text, "b", {.max_length = 7});
    tokenizer.encode_windows("a", text, 9, 2);
    tokenizer.decode(row.ids);
  }
  const std::string blob = tokenizer.serialize();
  const auto again = tenon::text::Tokenizer::deserialize(blob);
  if (!again.ok() || (*again)->serialize() != blob) std::abort();
  return 0;
}
