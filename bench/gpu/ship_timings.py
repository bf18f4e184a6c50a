#!/usr/bin/env python3
"""Makes the table of timings that Tenon ships: one command, on the GPU that it is for.

usage: ship_timings.py TENON OUT.jsonl [--sizes minilm,base,large] [--candidates 16] [--sustained 0.02] [--cache FILE]

Times, with `tenon tune`, the configs of encoders of these sizes (two layers with random weights have every problem of the whole
model) at every range of token counts, and writes what builds without `--tune` choose by: src/plan/tuned/h200.jsonl for an H200.
What ties a timing to one version of the kernels is left out: the table is advice for all later ones, and a config that no longer
exists is passed over. fp16 is timed; bf16 takes the same instructions, so that its entries are copies. --cache keeps the full
timings. Needs torch and transformers. Takes some minutes.

From 8448 rows on the table that is shipped has the winners of an earlier version, which are faster in whole models by 1 to 2 %: a
race shares its power budget among all candidates, a model spends it on one.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

from transformers import BertConfig, BertForQuestionAnswering

SIZES = {
    "minilm": dict(hidden_size=384, num_attention_heads=12, intermediate_size=1536),
    "base": dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "large": dict(hidden_size=1024, num_attention_heads=16, intermediate_size=4096),
}
SHOWN = (128, 384, 1024, 4224, 8448, 16896)


def summary(results):
    """How much faster the winners are than what runs without timing, as the geometric mean over the problems, by rows."""
    for rows in SHOWN:
        gains = []
        for r in results:
            times = {t["config"]: t["us"] for t in r.get("timings", [])}
            if r["rows"] == rows and times.get(r["config"]) and times.get(r["guess"]):
                gains.append(times[r["guess"]] / times[r["config"]])
        if gains:
            mean = math.exp(sum(map(math.log, gains)) / len(gains))
            print(f"  {rows:6} rows: {mean:.3f} times as fast as the guess (at most {max(gains):.3f}, {len(gains)} problems)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--sizes", default="minilm,base,large")
    parser.add_argument("--sustained", default="0.02", help="seconds that each timing of a large problem lasts")
    parser.add_argument("--candidates", default="16", help="configs that race for each problem and size; 0: all, which takes minutes")
    parser.add_argument("--cache", type=pathlib.Path, help="file of full timings to go on with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache = args.cache or folder / "timings.jsonl"
        for size in args.sizes.split(","):
            config = BertConfig(num_hidden_layers=2, **SIZES[size])
            BertForQuestionAnswering(config).save_pretrained(folder / size)
            command = [args.tenon, "tune", folder / size, "--fp16", "--candidates", args.candidates, "--sustained", args.sustained,
                       "--timing-cache", cache, "--json"]
            done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
            report = json.loads(done.stdout)
            print(f"{size} on {report['device']}: {len(report['results'])} races in {report['seconds']:.1f} s, "
                  f"{report['kernels_compiled']} kernels compiled", flush=True)
            summary(report["results"])
        lines = []
        for line in cache.read_text().splitlines():
            entry = json.loads(line)
            entry.pop("code", None)
            entry.pop("driver", None)
            entry["timings"] = [t for t in entry.get("timings", []) if t[1] > 0][:2]
            lines.append(json.dumps(entry, separators=(",", ":")))
            lines.append(lines[-1].replace("f16[", "bf16["))
    temporary = args.out.with_suffix(".new")
    temporary.write_text("\n".join(lines) + "\n")
    os.replace(temporary, args.out)
    print(f"{args.out}: {len(lines)} entries")


if __name__ == "__main__":
    main()
