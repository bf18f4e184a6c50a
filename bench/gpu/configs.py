#!/usr/bin/env python3
"""Whether another config of an encoder's products is faster in the whole model than the one that the shipped table names.

usage: configs.py TENON [--models base,large] [--cases 8x128,128x128] [--products out,ffn1,ffn2] [--configs 'tile=128x*,*']
                  [--target cuda] [--rounds 3]

A race of one product (`tenon tune`) runs at another clock, and with other data in the caches, than a model does: the chip
is limited by its power. Here the model is built with a timing cache that names, for one product and the tokens of the
case, another config, and both engines run in turns. Prints the median milliseconds and the rounds' ratios to the shipped
choice. Products: qkv [h, 3h], out [h, h], ffn1 [h, 4h], ffn2 [4h, h]. Needs torch and transformers.
"""
import argparse
import fnmatch
import json
import pathlib
import re
import statistics
import subprocess
import tempfile

from transformers import BertConfig, BertForQuestionAnswering

TABLE = pathlib.Path(__file__).resolve().parents[2] / "src/plan/tuned/h200.jsonl"
SIZES = {
    "tiny": (128, dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)),
    "base": (768, {}),
    "large": (1024, dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)),
}
PRODUCTS = {"qkv": (1, 3), "out": (1, 1), "ffn1": (1, 4), "ffn2": (4, 1)}  # depth and columns in units of the hidden size
FEW_ROWS = 1024  # tiles that share K (split=N) are worth trying up to here
CONFIGS = [f"tile={m}x{n},schedule={schedule},cluster={cluster}"
           for schedule, tiles in (("cooperative", ((128, 128), (128, 192), (128, 256), (256, 128))),
                                   ("pingpong", ((64, 128), (64, 192), (64, 256), (128, 128), (128, 192))))
           for m, n in tiles for cluster in (1, 2)]
CONFIGS += [f"tile={m}x{n},split={split}" for m in (64, 128) for n in (32, 64, 128) for split in (1, 2, 4, 8)]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def is_product(entry, hidden, product):
    depth, columns = PRODUCTS[product]
    shape = re.search(r"const f16\[(\d+),(\d+)\]", entry["problem"])
    return entry["kernel"] == "cuda.linear.sm90" and shape and tuple(map(int, shape.groups())) == (depth * hidden, columns * hidden)


def build(tenon, model, engine, target, change=lambda entry: entry):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as cache:
        for line in TABLE.read_text().splitlines():
            cache.write(json.dumps(change(json.loads(line))) + "\n")
        cache.flush()
        run(tenon, "build", model, "-o", engine, "--target", target, "--fp16", "--timing-cache", cache.name, "-q")
    return engine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--models", default="base,large")
    parser.add_argument("--cases", default="8x128,128x128")
    parser.add_argument("--products", default="out,ffn1,ffn2")
    parser.add_argument("--configs", default="*", help="only those of these forms, with ; between them; * stands for any letters")
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for size in args.models.split(","):
        hidden, config = SIZES[size]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            BertForQuestionAnswering(BertConfig(**config)).save_pretrained(folder / "model")
            shipped = build(args.tenon, folder / "model", folder / "shipped.tenon", args.target)
            for case in args.cases.split(","):
                batch, seq = map(int, case.split("x"))
                ranges = sorted({json.loads(line)["rows"] for line in TABLE.read_text().splitlines() if "cuda.linear.sm90" in line})
                rows = min((r for r in ranges if r >= batch * seq), default=ranges[-1])

                def time(engine):
                    report = run(args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 0.3, "--json", "-q", "--outputs-on-device")
                    return json.loads(report)[0]["median_s"] * 1e3

                for product in args.products.split(","):
                    for text in CONFIGS:
                        if not any(fnmatch.fnmatch(text, form) for form in args.configs.split(";")) or ("split" in text and rows > FEW_ROWS):
                            continue

                        def change(entry):
                            hit = is_product(entry, hidden, product) and entry["rows"] == rows
                            return {**entry, "config": text, "timings": [[text, 1.0, 0.0]]} if hit else entry

                        other = build(args.tenon, folder / "model", folder / "other.tenon", args.target, change)
                        pairs = [(time(shipped), time(other)) for _ in range(args.rounds)]
                        print(f"{size} {case} {product:4} {text:45} {statistics.median(b for _, b in pairs):8.3f} ms  "
                              + " ".join(f"{b / a:.3f}" for a, b in pairs), flush=True)


if __name__ == "__main__":
    main()
