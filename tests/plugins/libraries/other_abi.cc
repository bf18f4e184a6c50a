// A library that says it was built for another version of the interface.
#include <tenon/plugin.h>

extern "C" const tenon_plugin_library* tenon_plugin_entry() {
  static const tenon_plugin_library library = {TENON_PLUGIN_ABI + 41, "other", nullptr, 0};
  return &library;
}
