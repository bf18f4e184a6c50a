// Errors as users of the public API see them. Inside the library errors travel as tenon::Status (src/base/status.h).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace tenon {

// Each code has a section in docs/errors.md with causes and fixes.
enum class ErrorCode {
  kOk = 0,
  kInvalidArgument,   // a call or option that makes no sense
  kNotFound,          // a file, tensor or name that is not there
  kIo,                // the operating system refused: full disk, permission, short read
  kBadModel,          // an ONNX file, checkpoint or tokenizer that is damaged or contradicts itself
  kUnsupported,       // valid, but Tenon cannot do it (yet); the message lists everything that is missing
  kBadEngine,         // an engine file that is truncated, damaged or of a foreign format
  kEngineVersion,     // an engine file of a newer or incompatible version, or for another processor
  kBadInput,          // a tensor given to run: wrong name, dtype, shape or value
  kOutOfMemory,       // an allocation failed
  kNoDevice,         // no GPU, driver or GPU compiler where one is needed
  kInternal,          // a bug in Tenon
  kPlugin,            // a user's library of operators: it cannot be loaded, or its own code failed
};

// The name printed in messages and used as the anchor in docs/errors.md, e.g. "bad-model".
std::string_view error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace tenon
