#!/usr/bin/env python3
"""Checks that hold the architecture together; run by `./run test`.

usage: check_tree.py

- include rules: which folder of src may include which (the table below is DESIGN's)
- ARCHITECTURE.md and HACKING.md: every `path: function` and every path that they name exists
- op_list.inc, the pass list and the environment table agree with the generated docs
- soft limit of 500 lines a file
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

EVERYTHING = {"ir", "ops", "onnx", "network", "hf", "passes", "kernels", "engine", "runtime", "plan", "quantize", "text", "builder"}
MAY_INCLUDE = {
    "base": set(),
    "ir": set(),
    "ops": {"ir"},
    "onnx": {"ir", "ops"},
    "network": {"ir", "ops"},
    "passes": {"ir", "ops"},
    "kernels": {"ir", "ops"},
    "engine": {"ir", "ops"},
    "hf": {"ir", "ops", "network"},
    "runtime": {"ir", "ops", "engine", "kernels"},
    "plan": {"ir", "ops", "engine", "kernels", "runtime"},
    "quantize": {"ir", "ops", "passes", "engine", "kernels", "plan", "runtime"},
    "text": set(),
    "builder": EVERYTHING,
    "tasks": {"runtime", "engine", "text"},
    "serve": {"tasks", "runtime", "engine", "text", "builder"},
}
LIMIT = 500


def includes(path):
    return re.findall(r'^#include "([^"]+)"', path.read_text(), re.M)


def check_includes():
    for path in sorted(SRC.rglob("*")):
        if path.suffix not in {".h", ".cc", ".inc"}:
            continue
        folder = path.relative_to(SRC).parts[0]
        allowed = MAY_INCLUDE[folder] | {folder, "base", "tenon"}
        for name in includes(path):
            first = name.split("/")[0]
            if "/" in name and first not in allowed:
                yield f"{path.relative_to(ROOT)}: includes {name}; {folder} may include only {', '.join(sorted(allowed))}"
    for path in sorted((ROOT / "include").rglob("*.h")):
        for name in includes(path):
            if not name.startswith("tenon/"):
                yield f"{path.relative_to(ROOT)}: a public header includes {name}"


def check_documents():
    for document in ("ARCHITECTURE.md", "HACKING.md", "README.md"):
        text = (ROOT / document).read_text()
        for path, function in re.findall(r"`((?:src|tools|include|tests|scripts|bench|examples)/[\w./*-]+?)(?:: (\w[\w:]*))?`", text):
            if "*" in path:
                continue
            file = ROOT / path
            if not file.exists():
                yield f"{document}: {path} does not exist"
            elif function and file.is_file() and not re.search(rf"\b{re.escape(function.split('::')[-1])}\b", file.read_text()):
                yield f"{document}: {path} has no {function}"


def check_sizes():
    for folder in ("src", "include", "tools", "tests", "bench", "examples", "scripts"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".h", ".cc", ".py"} and (lines := len(path.read_text().splitlines())) > LIMIT:
                yield f"{path.relative_to(ROOT)}: {lines} lines, more than {LIMIT}"


def check_getenv():
    for path in sorted(SRC.rglob("*.cc")):
        if path != SRC / "base" / "env.cc" and re.search(r"\bgetenv\(", path.read_text()):
            yield f"{path.relative_to(ROOT)}: getenv outside base/env.cc"


def main():
    faults = [fault for check in (check_includes, check_documents, check_sizes, check_getenv) for fault in check()]
    for fault in faults:
        print(fault)
    print(f"tree: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
