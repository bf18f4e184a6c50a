#!/usr/bin/env python3
"""Where the time of an encoder layer goes, by class, and what each rewrite is worth.

usage: layer.py TENON [--model base|large] [--cases 1x128,1x256,1x512,1x1024] [--target cuda] [--precision fp16]
                [--layers 12] [--rounds 5] [--no-passes] [--out layer.json]

BERT with random weights, built at two depths. A layer's time is the difference of whole runs by the difference of
depths, in turns, so that graphs are replayed as in service and what comes before and behind the layers drops out. The
classes (matrix products with the bias, activation and residual that are fused into them; attention; norms; elementwise
steps that are left; copies and the like) are of steps timed one by one: their shares hold, their sum is larger than the
layer, since no step overlaps the next. Then, for each pass that changed the graph, how much slower a layer is without.
"""
import argparse
import json
import pathlib
import statistics
import tempfile

from command import run

SIZES = {"tiny": (128, 2), "base": (768, 12), "large": (1024, 16)}


def save_model(folder, size, layers, positions):
    import torch
    from transformers import BertConfig, BertModel

    hidden, heads = SIZES[size]
    torch.manual_seed(0)
    config = BertConfig(hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden,
                        num_hidden_layers=layers, max_position_embeddings=positions)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


class Bench:
    """`tenon bench` of one engine at one shape."""

    def __init__(self, tenon, target, batch, seq):
        self.command = [tenon, "bench", "--batch", batch, "--seq", seq, "--json", "-q"]
        if target != "cpu":
            self.command.append("--outputs-on-device")

    def __call__(self, engine, *options):
        return json.loads(run(*self.command, engine, *options))[0]


def layer_time(bench, deep, shallow, rounds):
    """Seconds: (engine, layers) of both depths."""
    times = {deep[0]: [], shallow[0]: []}
    for _ in range(rounds):
        for engine in times:
            times[engine].append(bench(engine, "--duration", 0.5)["median_s"])
    a, b = (statistics.median(times[e]) for e in times)
    return (a - b) / (deep[1] - shallow[1]), a, b


def layer_shares(deep, shallow):
    """{class: (seconds, steps)} of the layers by which two profiles' depths differ."""
    counts = {}
    for sign, profile in ((1, deep), (-1, shallow)):
        for share in profile["shares"]:
            seconds, steps = counts.get(share["group"], (0.0, 0))
            counts[share["group"]] = (seconds + sign * share["seconds"], steps + sign * share["steps"])
    return {group: found for group, found in counts.items() if found[1] > 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--model", choices=list(SIZES), default="base")
    parser.add_argument("--cases", default="1x128,1x256,1x512,1x1024")
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-passes", action="store_true", help="not what rewrites are worth: no engine for each")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    cases = [tuple(map(int, case.split("x"))) for case in args.cases.split(",")]
    precision = [] if args.precision == "fp32" else ["--" + args.precision]
    half = max(1, args.layers // 2)
    if half == args.layers:
        parser.error("--layers must be at least 2")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        engines = []
        for layers in (args.layers, half):
            model = save_model(folder / f"model{layers}", args.model, layers, max(512, *(seq for _, seq in cases)))
            engines.append((folder / f"{layers}.tenon", layers))
            run(args.tenon, "build", model, "-o", engines[-1][0], "--target", args.target, *precision, "-q")
        deep, shallow = engines
        for batch, seq in cases:
            bench = Bench(args.tenon, args.target, batch, seq)
            seconds, all_layers, half_of_them = layer_time(bench, deep, shallow, args.rounds)
            options = ["--duration", 0.3, "--profile"]
            profiles = [bench(engine, *options)["profile"] for engine, _ in engines]
            shares = layer_shares(*profiles)
            total = sum(s for s, _ in shares.values())
            depth = args.layers - half
            row = {"model": args.model, "precision": args.precision, "batch": batch, "seq": seq, "layer_s": seconds,
                   "run_s": all_layers, "outside_s": all_layers - args.layers * seconds, "classes": {}, "passes": []}
            print(f"\n{args.model} {args.precision} {batch}x{seq}: {1e6 * seconds:.1f} us a layer; "
                  f"{args.layers} layers {1e3 * all_layers:.3f} ms, {half} layers {1e3 * half_of_them:.3f} ms, "
                  f"outside of layers {1e6 * row['outside_s']:.1f} us")
            print(f"  {'class':<16} {'steps':>6} {'%':>6} {'us':>8}  (of the layer's time) {'us alone':>9}")
            for group, (taken, steps) in sorted(shares.items(), key=lambda item: -item[1][0]):
                part = taken / total if total > 0 else 0
                row["classes"][group] = {"steps": steps / depth, "share": part, "alone_s": taken / depth}
                print(f"  {group:<16} {steps / depth:>6.1f} {100 * part:>6.1f} {1e6 * part * seconds:>8.1f} "
                      f"{'':>22} {1e6 * taken / depth:>9.1f}", flush=True)
            if not args.no_passes:
                found = bench(deep[0], "--duration", 0.3, "--without-passes", folder / f"model{args.layers}")["profile"]
                print(f"  {'without the pass':<34} {'applied':>8} {'us a layer':>11} {'slower':>8}")
                for worth in found.get("passes", []):
                    if worth["failure"]:
                        print(f"  {worth['pass']:<34} {worth['applied']:>8}  {worth['failure']}")
                        continue
                    lost = worth["without_s"] - worth["with_s"]
                    row["passes"].append({**worth, "layer_s": lost / args.layers})
                    print(f"  {worth['pass']:<34} {worth['applied']:>8} {1e6 * lost / args.layers:>+11.2f} "
                          f"{100 * lost / worth['with_s']:>+7.1f}%", flush=True)
            rows.append(row)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
