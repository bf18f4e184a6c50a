#!/usr/bin/env python3
"""Image classifiers on a GPU, in one run: Tenon fp16 beside PyTorch fp16 with channels last.

usage: cnn.py TENON [--models resnet50,mobilenet_v2] [--batches 1,8,32,64,128] [--rounds 5] [--compile default,max-autotune]
              [--build "--tune"] [--profile 128] [--out table.json]

The models are those of bench/compare_cnn.py, with random weights. PyTorch runs each batch size eagerly and through
torch.compile in the modes named, all replayed as CUDA graphs, so that no side waits for its host. Images (fp32 for Tenon,
whose engine keeps the model's types at its edges; fp16 with channels last for PyTorch) and results stay on the device on
both sides. Rounds take each side in turn; a row gives min/median/max milliseconds of the rounds' medians, images a second
and the ratio to the fastest of PyTorch (median of the rounds' ratios). Before the times: agreement with PyTorch's fp32.
Needs torch and onnx on a machine with a GPU.
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import compare_cnn  # noqa: E402

from command import run  # noqa: E402


def agreement(tenon, engine, model, folder, size):
    """Largest error in units of the largest logit, and the share of images whose best class is PyTorch's."""
    worst, same, count = 0.0, 0, 0
    for batch in (1, 3, 16):
        x = np.random.default_rng(batch).standard_normal((batch, 3, size, size), np.float32)
        np.savez(folder / "in.npz", image=x)
        run(tenon, "run", engine, "--inputs", folder / "in.npz", "--out", folder / "out.npz")
        ours = np.load(folder / "out.npz")["logits"]
        with torch.inference_mode():
            theirs = model(torch.tensor(x).cuda()).cpu().numpy()
        worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        same, count = same + int((ours.argmax(1) == theirs.argmax(1)).sum()), count + batch
    return worst, same / count


class Replay:
    """One call of a model as a CUDA graph."""

    def __init__(self, call, x):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.inference_mode():
            for _ in range(3):
                call(x)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self.graph):
            self.y = call(x)

    def median(self, seconds=0.5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        times, start = [], time.time()
        while time.time() - start < seconds or len(times) < 10:
            begin.record()
            self.graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return statistics.median(times[len(times) // 5:])


def tenon_times(tenon, engine, batch, seconds=0.5):
    bench = [tenon, "bench", engine, "--batch", batch, "--warmup", 24, "--duration", seconds, "--json", "-q",
             "--inputs-on-device", "--outputs-on-device"]
    point = json.loads(run(*bench))[0]
    return {key: point[f"{key}_s"] * 1e3 for key in ("min", "mean", "median", "max")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--models", default="resnet50")
    parser.add_argument("--batches", default="1,8,32,64,128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precision", default="fp16", choices=["fp16", "bf16"])
    parser.add_argument("--compile", default="default,max-autotune-no-cudagraphs", help="modes of torch.compile; empty: none")
    parser.add_argument("--build", default="", help="more options of `tenon build`")
    parser.add_argument("--profile", default="", help="batch sizes whose steps are timed one by one")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    torch.backends.cudnn.benchmark = True
    rows = []
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            model = compare_cnn.randomize(compare_cnn.MODELS[name]())
            compare_cnn.export(model, str(folder / "model.onnx"), args.size)
            engine, start = folder / "model.tenon", time.time()
            build = [args.tenon, "build", folder / "model.onnx", "-o", engine, "--target", "cuda", "--json",
                     f"--{args.precision}"]
            report = json.loads(run(*build, *args.build.split()))
            print(f"{name}: build {time.time() - start:.1f} s, {report['steps']} steps", flush=True)
            model = model.cuda()
            worst, same = agreement(args.tenon, engine, model, folder, args.size)
            print(f"{name}: against PyTorch fp32: largest error {worst:.2e} of the largest logit, same class {same:.3f}",
                  flush=True)
            dtype = torch.float16 if args.precision == "fp16" else torch.bfloat16
            half = model.to(dtype).to(memory_format=torch.channels_last)
            for batch in map(int, args.batches.split(",")):
                x = torch.randn(batch, 3, args.size, args.size, device="cuda").to(dtype)
                x = x.to(memory_format=torch.channels_last)
                sides = {"eager": Replay(half, x)}
                for mode in filter(None, args.compile.split(",")):
                    torch._dynamo.reset()
                    sides[mode] = Replay(torch.compile(half, mode=None if mode == "default" else mode), x)
                runs, times = [], {side: [] for side in ("tenon", *sides)}
                for _ in range(args.rounds):
                    runs.append(tenon_times(args.tenon, engine, batch))
                    times["tenon"].append(runs[-1]["median"])
                    for side, replay in sides.items():
                        times[side].append(replay.median())
                ratios = [min(times[s][i] for s in sides) / times["tenon"][i] for i in range(args.rounds)]
                cells = [f"{side} {min(t):7.3f}/{statistics.median(t):7.3f}/{max(t):7.3f}" for side, t in times.items()]
                speed = batch / statistics.median(times["tenon"]) * 1e3
                least, greatest = min(r["min"] for r in runs), max(r["max"] for r in runs)
                mean = statistics.mean(r["mean"] for r in runs)
                print(f"{name} {args.precision} batch {batch:4}: {least:.3f}/{mean:.3f}/{greatest:.3f}  {'  '.join(cells)} ms  "
                      f"{speed:8.0f} images/s  {statistics.median(ratios):.2f}x the fastest of PyTorch", flush=True)
                rows.append(dict(model=name, precision=args.precision, batch=batch, runs=runs, milliseconds=times,
                                 ratio=statistics.median(ratios)))
                del sides
            for batch in filter(None, args.profile.split(",")):
                print(run(args.tenon, "bench", engine, "--batch", batch, "--duration", 0.2, "--warmup", 8, "--profile", "-q",
                          "--inputs-on-device", "--outputs-on-device"), flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
