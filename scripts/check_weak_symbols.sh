#!/usr/bin/env bash
# Objects built for one instruction set must not define weak symbols: the linker keeps one copy of each, and if it keeps the
# AVX-512 one, machines without AVX-512 crash in code that never asked for it.
#
#   scripts/check_weak_symbols.sh BUILD_FOLDER
set -euo pipefail

build=${1:?usage: check_weak_symbols.sh BUILD_FOLDER}
mapfile -t objects < <(find "$build" -name '*_avx2.cc.o' -o -name '*_avx512.cc.o')
if [ ${#objects[@]} -eq 0 ]; then
  echo "check_weak_symbols: no object of a single instruction set under $build" >&2
  exit 1
fi

failed=0
for object in "${objects[@]}"; do
  # W, V: weak and defined; u: unique across the process. DW.ref.* are addresses for the unwinder, the same in every object.
  weak=$(nm --defined-only --demangle "$object" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v ' DW\.ref\.' || true)
  [ -z "$weak" ] && continue
  failed=1
  echo "$object defines weak symbols:" >&2
  echo "$weak" >&2
done
[ $failed -eq 0 ] && echo "check_weak_symbols: ${#objects[@]} objects, none weak"
exit $failed
