// Libraries that are opened when they are needed and may be missing: the GPU's driver, its compiler, its vendor's kernels.
#pragma once

#include <initializer_list>
#include <string>

namespace tenon {

// Once opened it stays open: what was found in it is kept in tables that live as long as the process.
class DynamicLibrary {
 public:
  // What the environment variable names and nothing else; where it is empty, the first of `names` that can be opened. null:
  // no variable.
  DynamicLibrary(const char* variable, std::initializer_list<const char*> names);

  explicit operator bool() const { return handle_ != nullptr; }
  // The file that the variable names; empty: none.
  const std::string& given() const { return given_; }

  // `function` is null where the library has no such symbol.
  template <class F>
  void find(const char* symbol, F*& function) {
    function = reinterpret_cast<F*>(address(symbol));
  }
  // The first symbol that was not found; empty: all were.
  const std::string& missing() const { return missing_; }

 private:
  void* address(const char* symbol);

  void* handle_ = nullptr;
  std::string given_, missing_;
};

}  // namespace tenon
