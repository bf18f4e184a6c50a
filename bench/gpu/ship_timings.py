#!/usr/bin/env python3
"""Makes the table of timings that Tenon ships: one command, on the GPU that it is for.

usage: ship_timings.py TENON OUT.jsonl [--sizes minilm,base,large,resnet50] [--candidates 16] [--sustained 0.02] [--cache FILE]

Times, with `tenon tune`, the configs of encoders of these sizes (two layers with random weights have every problem of the whole
model) at every range of token counts, and writes what builds without `--tune` choose by: src/plan/tuned/h200.jsonl for an H200.
What ties a timing to one version of the kernels is left out: the table is advice for all later ones, and a config that no longer
exists is passed over. fp16 is timed; bf16 takes the same instructions, so that the encoders' entries are copied for it. Entries of
OUT that this run does not time stay. --cache keeps the full timings, and is gone on with. Needs torch, transformers and onnx. Takes
some minutes.

From 8448 rows on the table that is shipped has the winners of an earlier version, which are faster in whole models by 1 to 2 %: a
race shares its power budget among all candidates, a model spends it on one.
"""
import argparse
import json
import math
import os
import pathlib
import sys
import tempfile

from transformers import BertConfig, BertForQuestionAnswering

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import compare_cnn  # noqa: E402

from command import run  # noqa: E402

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


def prepare(size, folder):
    """The model, and what `tenon tune` is told beside it."""
    if size in SIZES:
        BertForQuestionAnswering(BertConfig(num_hidden_layers=2, **SIZES[size])).save_pretrained(folder / size)
        return folder / size, []
    path = folder / f"{size}.onnx"
    compare_cnn.export(compare_cnn.randomize(compare_cnn.MODELS[size]()), path, 224)
    return path, ["--kernel", "cuda.conv.*", "--max-shapes", "image:128x3x224x224"]


def key(entry):
    return entry["kernel"], entry["problem"], entry["rows"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--sizes", default="minilm,base,large,resnet50")
    parser.add_argument("--sustained", default="0.02", help="seconds that each timing of a large problem lasts")
    parser.add_argument("--candidates", default="16", help="configs that race for each problem and size; 0: all, which takes minutes")
    parser.add_argument("--cache", type=pathlib.Path, help="file of full timings to go on with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache = args.cache or folder / "timings.jsonl"
        for size in args.sizes.split(","):
            model, options = prepare(size, folder)
            report = json.loads(run(args.tenon, "tune", model, "--fp16", "--candidates", args.candidates, "--sustained", args.sustained,
                                    "--timing-cache", cache, "--json", *options))
            print(f"{size} on {report['device']}: {len(report['results'])} races in {report['seconds']:.1f} s, "
                  f"{report['kernels_compiled']} kernels compiled", flush=True)
            summary(report["results"])
        entries = {}
        for line in args.out.read_text().splitlines() if args.out.exists() else []:
            entries[key(json.loads(line))] = line
        for line in cache.read_text().splitlines():
            entry = json.loads(line)
            entry.pop("code", None)
            entry.pop("driver", None)
            entry["timings"] = [t for t in entry.get("timings", []) if t[1] > 0][:2]
            copies = [json.dumps(entry, separators=(",", ":"))]
            if not entry["problem"].startswith("conv("):
                copies.append(copies[0].replace("f16[", "bf16["))
            entries.update({key(json.loads(copy)): copy for copy in copies})
        lines = sorted(entries.values())
    temporary = args.out.with_suffix(".new")
    temporary.write_text("\n".join(lines) + "\n")
    os.replace(temporary, args.out)
    print(f"{args.out}: {len(lines)} entries")


if __name__ == "__main__":
    main()
