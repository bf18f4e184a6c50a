// Any bytes as a SentencePiece model; a tokenizer that loads must encode, write itself and read itself again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // The name chooses the family.
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model", "plain"}) {
    const auto loaded = tenon::text::Tokenizer::from_sentencepiece(bytes, name);
    if (!loaded.ok()) continue;
    const tenon::text::Tokenizer& tokenizer = **loaded;
    for (const std::string_view text :
         {std::string_view("Hello,  wörld ▁1,000 ①中国\xFF e\u0301\u0323\r\n"), bytes.substr(0, 300)}) {
      const tenon::Encoding row = tokenizer.encode(text);
      tokenizer.encode_windows("a", text, 9, 2);
      tokenizer.decode(row.ids);
    }
    const std::string blob = tokenizer.serialize();
    const auto again = tenon::text::Tokenizer::deserialize(blob);
    if (!again.ok() || (*again)->serialize() != blob) std::abort();
  }
  return 0;
}
