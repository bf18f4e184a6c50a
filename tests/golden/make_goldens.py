"""Writes the golden corpus: tiny random models with recorded inputs and outputs. See README.md.

    python make_goldens.py                   everything
    python make_goldens.py --group exports   one group
    python make_goldens.py --only bert-enc   the cases whose name contains the text
    python make_goldens.py --list            the names only
"""

import argparse
import importlib
import shutil
import time

from generator import checkpoints, common

GROUPS = ["exports", "masks", "tutorial", "variants", "architectures", "cnns", "checkpoints"]


def versions():
    names = ["torch", "transformers", "onnx", "onnxruntime", "onnxscript", "tokenizers", "safetensors", "numpy"]
    return {name: importlib.import_module(name).__version__.split("+")[0] for name in names}


def remove_orphans(names, index):
    """Files and entries of cases that the generator no longer lists."""
    for name in set(index) - set(names):
        del index[name]
    for path in common.ONNX_DIR.iterdir():
        if path.name.split(".")[0] not in names:
            path.unlink()
    for path in checkpoints.DIR.iterdir():
        if path.name not in names:
            shutil.rmtree(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()

    index, _ = common.load_index()
    failures, order = [], {}
    for group in GROUPS:
        module = importlib.import_module(f"generator.{group}")
        for case in module.cases():
            order[case.name] = len(order)
            if arguments.only not in case.name or (arguments.group and group != arguments.group):
                continue
            if arguments.list:
                print(case.name)
                continue
            start = time.monotonic()
            try:
                entry = case.write(index)
                print(f"{case.name}: {entry['checked_to']} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:
                index.pop(case.name, None)
                failures.append((case.name, f"{type(error).__name__}: {error}".splitlines()[0]))
                print(f"{case.name}: FAILED {failures[-1][1]}", flush=True)
            common.save_index(index, versions(), order)
    if not (arguments.only or arguments.group or arguments.list):
        remove_orphans(order, index)
        common.save_index(index, versions(), order)
    for name, error in failures:
        print(f"refused: {name}: {error[:300]}")


if __name__ == "__main__":
    main()
