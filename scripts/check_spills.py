#!/usr/bin/env python3
"""The inner loops of the CPU products keep their sums in registers: no vector goes to the stack or comes back from it.

usage: check_spills.py BUILD_FOLDER

Looks at what the compiler made of the tiles (src/kernels/cpu/dot-inl.h, gemm-inl.h, conv-inl.h) in a release build, in the
objects of single instruction sets. Needs objdump. Other processors have no such objects: nothing is looked at there.
"""
import pathlib
import platform
import re
import subprocess
import sys

TILES = re.compile(r"dot|gemm|gather")  # functions, whichever of them the compiler puts into others
# What must be found, so that none is passed over: the instruction that multiplies, with which it must stand in a loop.
INTEGERS = ["vpmaddwd", "vpmaddubsw", "vpdpbusd"]
PRODUCTS = {"avx2": ["vfmadd231ps", *INTEGERS], "avx512": ["vfmadd231ps", "vdpbf16ps", *INTEGERS]}
FEWEST = 16  # products in a loop: what has less is no tile of many sums
STACK = r"(?:\(%rsp\b|-0x[0-9a-f]+\(%rbp\))"
ON_STACK = re.compile(rf"{STACK}.*%[xyz]mm|%[xyz]mm\d+,[^,]*{STACK}")


def functions(path):
    """(name, lines) of each function of an object."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    name, lines = None, []
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            if name:
                yield name, lines
            name, lines = head.group(1), []
        elif re.match(r"\s+[0-9a-f]+:\t", line):
            lines.append(line.strip())
    if name:
        yield name, lines


def inner_loops(lines):
    """Instructions between a jump backwards and where it goes, without jumps among them."""
    at = {line.split(":")[0]: i for i, line in enumerate(lines)}
    for end, line in enumerate(lines):
        jump = re.match(r"[0-9a-f]+:\tj\w+\s+([0-9a-f]+)\b", line)
        begin = at.get(jump.group(1)) if jump else None
        if begin is None or begin > end:
            continue
        body = [l.split("\t", 1)[1] for l in lines[begin:end]]
        if not any(re.match(r"j|call|ret", instruction) for instruction in body):
            yield body


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    if platform.machine() not in ("x86_64", "AMD64"):
        print(f"check_spills: skipped, no tiles of vectors for {platform.machine()}")
        return 0
    faults, count = [], 0
    for isa, products in PRODUCTS.items():
        objects = list(pathlib.Path(sys.argv[1]).rglob(f"*_{isa}.cc.o"))
        if not objects:
            raise SystemExit(f"check_spills: no object of {isa} under {sys.argv[1]}")
        found = set()
        for path in objects:
            for name, lines in functions(path):
                if not TILES.search(name):
                    continue
                for body in inner_loops(lines):
                    used = [p for p in products if sum(p in i for i in body) >= FEWEST]
                    found.update(used)
                    if not used:
                        continue
                    count += 1
                    faults += [f"{path.name}: {name}: {i}" for i in body if ON_STACK.search(i)]
        faults += [f"{isa}: no loop of {p} in a tile" for p in products if p not in found]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"check_spills: {count} loops, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
