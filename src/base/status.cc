#include "base/status.h"

namespace tenon {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return "ok";
    case ErrorCode::kInvalidArgument: return "invalid-argument";
    case ErrorCode::kNotFound: return "not-found";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kBadModel: return "bad-model";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kBadEngine: return "bad-engine";
    case ErrorCode::kEngineVersion: return "engine-version";
    case ErrorCode::kBadInput: return "bad-input";
    case ErrorCode::kOutOfMemory: return "out-of-memory";
    case ErrorCode::kNoDevice: return "no-device";
    case ErrorCode::kInternal: return "internal";
    case ErrorCode::kPlugin: return "plugin";
  }
  return "internal";
}

void throw_if_error(const Status& status) {
  if (!status.ok()) throw Error(status.code(), status.message());
}

}  // namespace tenon
