#!/usr/bin/env python3
"""Whether another config of an encoder's products is faster in the whole model than the one that the shipped table names.

usage: configs.py TENON [--models base,large] [--cases 8x128,128x128] [--products out,ffn1,ffn2] [--configs 'tile=128x*,*']
                  [--target cuda] [--rounds 3]

A race of one product (`tenon tune`) runs at another clock, and with other data in the caches, than a model does: the chip
is limited by its power. Here the model is built with a timing cache that names, for one product and the tokens of the
case, another config; the engines run in turns, the shipped choice between every four. Prints the median milliseconds and the
rounds' ratios to it, fastest first. Products: qkv [h, 3h], out [h, h], ffn1 [h, 4h], ffn2 [4h, h]. Needs torch and transformers.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import pathlib
import re
import statistics
import tempfile

from transformers import BertConfig, BertForQuestionAnswering

from command import run
from encoder import SIZES

TABLE = pathlib.Path(__file__).resolve().parents[2] / "src/plan/tuned/h200.jsonl"
PRODUCTS = {"qkv": (1, 3), "out": (1, 1), "ffn1": (1, 4), "ffn2": (4, 1)}  # depth and columns in units of the hidden size
FEW_ROWS = 1024  # tiles that share K (split=N) are worth trying up to here
CONFIGS = [f"tile={m}x{n},schedule={schedule},cluster={cluster}"
           for schedule, tiles in (("cooperative", ((128, 128), (128, 192), (128, 256), (256, 128))),
                                   ("pingpong", ((64, 128), (64, 192), (64, 256), (128, 128), (128, 192))))
           for m, n in tiles for cluster in (1, 2)]
CONFIGS += [f"tile={m}x{n},split={split}" for m in (64, 128) for n in (32, 64, 128) for split in (1, 2, 4, 8)]


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
    parser.add_argument("--configs", default="*", help="those of these forms, with ; between them; * stands for any letters")
    parser.add_argument("--together", default="", help="several at once, with ; between such choices (--products '': these alone): 'qkv:CONFIG ffn2:CONFIG;…'")
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=8, help="engines to build at once")
    args = parser.parse_args()
    forms = args.configs.split(";")
    for size in args.models.split(","):
        config = BertConfig(vocab_size=2000, **SIZES[size])
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            BertForQuestionAnswering(config).save_pretrained(folder / "model")
            for case in args.cases.split(","):
                batch, seq = map(int, case.split("x"))
                ranges = sorted({json.loads(line)["rows"] for line in TABLE.read_text().splitlines() if "cuda.linear.sm90" in line})
                rows = min((r for r in ranges if r >= batch * seq), default=ranges[-1])

                def time(engine):
                    report = run(args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 0.25, "--json", "-q", "--outputs-on-device")
                    return json.loads(report)[0]["median_s"] * 1e3

                def make(choice):
                    def change(entry):
                        for product, text in choice.items():
                            if entry["rows"] == rows and is_product(entry, config.hidden_size, product):
                                return {**entry, "config": text, "timings": [[text, 1.0, 0.0]]}
                        return entry

                    engine = folder / ("_".join(f"{p}:{t}" for p, t in choice.items()) + ".tenon")
                    return build(args.tenon, folder / "model", engine, args.target, change)

                texts = [t for t in CONFIGS if any(fnmatch.fnmatch(t, form) for form in forms) and ("split" not in t or rows <= FEW_ROWS)]
                texts += [form for form in forms if "*" not in form and form not in texts]
                groups = [[{product: text} for text in texts] for product in args.products.split(",") if product]
                groups += [[dict(part.split(":") for part in one.split()) for one in args.together.split(";")]] if args.together else []
                for group in groups:
                    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
                        shipped, *engines = pool.map(make, [{}] + group)
                    times = [[] for _ in group]
                    for _ in range(args.rounds):
                        for i, engine in enumerate(engines):
                            if i % 4 == 0:
                                now = time(shipped)
                            times[i].append((time(engine), now))
                    print(f"{statistics.median(b for pairs in times for _, b in pairs):8.4f} ms  {size} {case} shipped")
                    for pairs, choice in sorted(zip(times, group), key=lambda item: statistics.median(a / b for a, b in item[0])):
                        print(f"{statistics.median(a for a, _ in pairs):8.4f} ms  {size} {case} " + " ".join(f"{a / b:.3f}" for a, b in pairs)
                              + "  " + " ".join(f"{p}:{t}" for p, t in choice.items()), flush=True)
                    for engine in (shipped, *engines):
                        engine.unlink()


if __name__ == "__main__":
    main()
