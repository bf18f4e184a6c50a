// Any bytes as an engine file: refused or run, never a crash. Checksums are made right, so that damage reaches what they guard.
#include "tests/support/hostile_engines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < sizeof(tenon::engine::Header)) {
    (void)tenon::test::run_once(bytes);
    return 0;
  }
  std::string repaired = tenon::test::forge_header(bytes, [&](tenon::engine::Header& header) {
    header.magic = tenon::engine::kMagic;
    header.file_size = size;
  });
  (void)tenon::test::run_once(tenon::test::repair_checksums(repaired));
  return 0;
}
