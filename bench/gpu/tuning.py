#!/usr/bin/env python3
"""What tuning costs and gains: whole encoders in fp16, tuned beside untuned, in one run.

usage: tuning.py TENON [--models base,large] [--cases 1x128,1x384,8x128,128x128,32x384] [--rounds 3] [--out table.json]

Prints for each model the seconds of a build without tuning, a cold one with it (caches empty) and a warm one, then for each
case the median milliseconds of both engines, measured in turn, and their ratio. Needs torch and transformers.
"""
import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time

from transformers import BertConfig, BertForQuestionAnswering

from command import run
from encoder import SIZES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--models", default="base,large")
    parser.add_argument("--cases", default="1x128,1x384,8x128,128x128,32x384")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    rows = []
    for size in args.models.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            BertForQuestionAnswering(BertConfig(**SIZES[size])).save_pretrained(folder / "model")

            def build(label, *options):
                cache = folder / ("warm" if label.startswith("warm") else "cold-" + label.split()[0])
                start = time.time()
                command = [args.tenon, "build", folder / "model", "-o", folder / f"{label.split()[0]}.tenon", "--target", "cuda", "--fp16", "-q"]
                run(*command, *options, TENON_CACHE_DIR=str(cache))
                print(f"{size}: build, {label}: {time.time() - start:.2f} s", flush=True)

            build("untuned (cold)")
            build("tuned (cold)", "--tune")
            os.rename(folder / "cold-tuned", folder / "warm")
            build("warm (tuned)", "--tune")
            same = (folder / "tuned.tenon").read_bytes() == (folder / "warm.tenon").read_bytes()
            print(f"{size}: the warm build gives {'the same bytes' if same else 'OTHER bytes'}", flush=True)
            for case in args.cases.split(","):
                batch, seq = case.split("x")
                times = {"untuned": [], "tuned": []}
                for _ in range(args.rounds):
                    for engine, seen in times.items():
                        command = [args.tenon, "bench", folder / f"{engine}.tenon", "--batch", batch, "--seq", seq, "--duration", 0.7]
                        seen.append(json.loads(run(*command, "--json", "-q", TENON_CACHE_DIR=str(folder)))[0]["median_s"] * 1e3)
                was, now = (statistics.median(times[e]) for e in ("untuned", "tuned"))
                rows.append(dict(model=size, case=case, untuned_ms=times["untuned"], tuned_ms=times["tuned"]))
                print(f"{size:6} {case:8} untuned {was:8.3f} ms [{min(times['untuned']):.3f}, {max(times['untuned']):.3f}]  "
                      f"tuned {now:8.3f} [{min(times['tuned']):.3f}, {max(times['tuned']):.3f}]  ratio {now / was:.3f}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
