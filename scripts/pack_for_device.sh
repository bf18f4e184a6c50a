#!/bin/bash
# Gathers programs and the shared libraries that a bare GPU machine may lack into a folder that can be copied there:
#   scripts/pack_for_device.sh OUT PROGRAM…        then there: LD_LIBRARY_PATH=OUT/lib OUT/PROGRAM
set -euo pipefail
out=$1
shift
mkdir -p "$out/lib"
for program in "$@"; do
  strip -o "$out/$(basename "$program")" "$program"
  ldd "$program" | awk '/=> \// {print $3}' | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' |
    while read -r library; do cp -Lu "$library" "$out/lib/"; done
done
du -sh "$out"
