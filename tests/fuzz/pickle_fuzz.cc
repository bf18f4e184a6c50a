// Any bytes as data.pkl of a PyTorch checkpoint: a list of views, or an error.
#include "hf/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)tenon::hf::unpickle_state_dict({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
