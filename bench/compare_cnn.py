#!/usr/bin/env python3
"""Times Tenon against ONNX Runtime, OpenVINO and PyTorch on image classifiers on the CPU, interleaved; random weights.

usage: compare_cnn.py TENON [--model resnet50] [--batches 1,8,64] [--rounds 7] [--threads 2] [--size 224]
                      [--peers onnxruntime,openvino] [--precision fp32] [--gemm-bench PROGRAM] [--out FILE]

Models: resnet50 (He et al. 2015, the stride in the 3x3 convolution as is usual now) and mobilenet_v2 (Sandler et al.
2018), written out in torch.nn and exported in fp32. Each round runs each side in turn on as many threads; a row gives
min/mean/max of all runs and images a second by the median, and Tenon's share of each peer's time (the median of the
rounds' shares). --precision is Tenon's alone: bf16 or int8 stand beside peers in fp32. With --gemm-bench (the program
of that name) also the floor: the model's multiply-adds at the peak rate that the processor reached on registers just
before. Needs torch, onnx and onnxruntime, and openvino unless --peers leaves it out; nothing of this is needed to build
or test Tenon.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np


def resnet50():
    from torch import nn

    def conv(channels, filters, kernel, stride=1):
        return nn.Sequential(nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False),
                             nn.BatchNorm2d(filters))

    class Bottleneck(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            self.body = nn.Sequential(conv(channels, width, 1), nn.ReLU(), conv(width, width, 3, stride), nn.ReLU(),
                                      conv(width, 4 * width, 1))
            same = channels == 4 * width
            self.shortcut = nn.Identity() if same else conv(channels, 4 * width, 1, stride)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    layers, channels = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(blocks):
            layers.append(Bottleneck(channels, width, stride if i == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def mobilenet_v2():
    from torch import nn

    def conv(channels, filters, kernel, stride=1, groups=1, active=True):
        layers = [nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False),
                  nn.BatchNorm2d(filters)]
        return layers + ([nn.ReLU6()] if active else [])

    class Inverted(nn.Module):
        def __init__(self, channels, filters, stride, expand):
            super().__init__()
            wide = channels * expand
            self.body = nn.Sequential(*(conv(channels, wide, 1) if expand > 1 else []),
                                      *conv(wide, wide, 3, stride, groups=wide), *conv(wide, filters, 1, active=False))
            self.adds = stride == 1 and channels == filters

        def forward(self, x):
            return x + self.body(x) if self.adds else self.body(x)

    layers, channels = conv(3, 32, 3, 2), 32
    for expand, filters, blocks, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                            (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(blocks):
            layers.append(Inverted(channels, filters, stride if i == 0 else 1, expand))
            channels = filters
    return nn.Sequential(*layers, *conv(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(1280, 1000))


MODELS = {"resnet50": resnet50, "mobilenet_v2": mobilenet_v2}


def randomize(model):
    """Norms as after training: near one, so that activations keep their size through the layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.4, 0.8)
            nn.init.normal_(layer.bias, 0, 0.1)
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    return model.eval()


def multiply_adds(model, size):
    """Of one image, in convolutions and linears."""
    import torch
    from torch import nn

    total = 0

    def count(layer, _, y):
        nonlocal total
        total += y.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total


def export(model, path, size):
    import torch

    torch.onnx.export(model, (torch.randn(1, 3, size, size),), path, dynamo=False, opset_version=17,
                      input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})


def onnxruntime_peer(path, _, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"image": x})[0]


def openvino_peer(path, _, threads):
    import openvino

    made = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads,
                                                            "PERFORMANCE_HINT": "LATENCY",
                                                            "INFERENCE_PRECISION_HINT": "f32"})
    request = made.create_infer_request()
    return lambda x: request.infer({"image": x})[made.output(0)]


def pytorch_peer(_, model, threads):
    import torch

    torch.set_num_threads(threads)
    model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(x):
        return model(torch.from_numpy(x).contiguous(memory_format=torch.channels_last)).numpy()

    return run


PEERS = {"onnxruntime": onnxruntime_peer, "openvino": openvino_peer, "pytorch": pytorch_peer}


def tenon_times(tenon, engine, batch, runs, threads):
    import json

    command = [tenon, "bench", str(engine), "--batch", str(batch), "--iterations", str(runs), "--warmup", "1",
               "--threads", str(threads), "--json"]
    point = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]
    return point["min_s"], point["mean_s"], point["median_s"], point["max_s"]


def peer_times(run, x, runs):
    run(x)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - start)
    return min(times), statistics.mean(times), statistics.median(times), max(times)


def summary(rounds, batch):
    low, mean, high = min(r[0] for r in rounds), statistics.mean(r[1] for r in rounds), max(r[3] for r in rounds)
    return (f"{1e3 * low:.2f} / {1e3 * mean:.2f} / {1e3 * high:.2f} | "
            f"{batch / statistics.median(r[2] for r in rounds):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("--model", default="resnet50", choices=sorted(MODELS))
    parser.add_argument("--batches", default="1,8,64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--peers", default="onnxruntime,openvino")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "int8"])
    parser.add_argument("--gemm-bench")
    parser.add_argument("--out")
    args = parser.parse_args()
    lines = []

    def say(line):
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path, engine = folder / "model.onnx", folder / "model.tenon"
        model = randomize(MODELS[args.model]())
        export(model, path, args.size)
        precision = [] if args.precision == "fp32" else [f"--{args.precision}"]
        subprocess.run([args.tenon, "build", str(path), "-o", str(engine), "--quiet", *precision], check=True,
                       stdout=subprocess.DEVNULL)
        work = multiply_adds(model, args.size)
        say(f"{args.model}, {args.size} x {args.size}, {args.precision}, {args.threads} threads: "
            f"{work * 1e-9:.2f} G multiply-adds an image")
        if args.gemm_bench:
            command = [args.gemm_bench, str(args.threads), "best", "f32", "peak"]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            peak = float(line.split("peak ")[1].split()[0]) * 1e9
            say(f"floor: {2e3 * work / peak:.2f} ms an image ({line})")
        peers = {n: PEERS[n](path, model, args.threads) for n in args.peers.split(",") if n}
        say("")
        heads = "".join(f" | {n}, ms | images/s | share" for n in peers)
        say(f"| batch | tenon, ms (min / mean / max) | images/s{heads} | max abs |")
        say("|---" * (4 + 3 * len(peers)) + "|")
        rng = np.random.default_rng(0)
        for batch in map(int, args.batches.split(",")):
            x = rng.standard_normal((batch, 3, args.size, args.size), np.float32)
            runs = max(2, 16 // batch)
            rounds = {n: [] for n in ("tenon", *peers)}
            for _ in range(args.rounds):
                for n, run in peers.items():
                    rounds[n].append(peer_times(run, x, runs))
                rounds["tenon"].append(tenon_times(args.tenon, engine, batch, runs, args.threads))
            np.savez(folder / "in.npz", image=x)
            files = ["--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")]
            subprocess.run([args.tenon, "run", str(engine), *files], check=True)
            actual = np.load(folder / "out.npz")["logits"]
            cells = [str(batch), summary(rounds["tenon"], batch)]
            for n in peers:
                shares = [ours[2] / theirs[2] for ours, theirs in zip(rounds["tenon"], rounds[n])]
                cells += [summary(rounds[n], batch), f"{statistics.median(shares):.3f}"]
            expected = next(iter(peers.values()))(x) if peers else actual
            cells.append(f"{np.abs(actual - expected).max() / np.abs(expected).max():.1e} of the largest")
            say("| " + " | ".join(cells) + " |")
        say("")
        say(f"load of the machine at the end: {os.getloadavg()[0]:.1f} (ours included)")
    if args.out:
        pathlib.Path(args.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
