#include "base/dynamic_library.h"

#include <dlfcn.h>

#include "base/env.h"

namespace tenon {

DynamicLibrary::DynamicLibrary(const char* variable, std::initializer_list<const char*> names) : given_(variable != nullptr ? env(variable) : "") {
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
  if (!given_.empty()) {
    handle_ = dlopen(given_.c_str(), kFlags);
    return;
  }
  for (const char* name : names)
    if (handle_ == nullptr) handle_ = dlopen(name, kFlags);
}

void* DynamicLibrary::address(const char* symbol) {
  void* const found = dlsym(handle_, symbol);
  if (found == nullptr && missing_.empty()) missing_ = symbol;
  return found;
}

}  // namespace tenon
