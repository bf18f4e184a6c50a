// Any bytes as a SentencePiece model.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // The name chooses the family.
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model", "plain"}) {
    const auto tokenizer = tenon::text::Tokenizer::from_sentencepiece(bytes, name);
    if (tokenizer.ok()) tenon::fuzz::use(**tokenizer, {"Hello,  wörld ▁1,000 ①中国\xFF e\u0301\u0323\r\n", bytes.substr(0, 300)});
  }
  return 0;
}
