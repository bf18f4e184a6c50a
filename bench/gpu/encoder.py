#!/usr/bin/env python3
"""Whole encoders on a GPU, in one run: Tenon fp16 beside PyTorch fp16 (eager, and compiled), and ONNX Runtime fp16.

usage: encoder.py TENON [--models base,large] [--cases 1x128,1x384,8x128,128x128,32x384] [--compile reduce-overhead,max-autotune]
                  [--ort] [--squad] [--out table.json]

The model is a question-answering BERT of that size with random weights. Prints, for each model: build and load times,
agreement with PyTorch's fp32 on masked batches of odd lengths (largest error in units of the largest logit, least cosine),
then for each case the median milliseconds of each and Tenon's ratio to the fastest peer. Outputs stay on the device on all
sides. Tenon's times begin with ids and mask on the host, the peers' with both on the device. --compile: torch.compile in
these modes. --ort: ONNX Runtime's CUDA provider with its own transformer optimizer, replayed as CUDA graphs. --squad adds the
lengths of SQuAD's dev set (squad_lengths.txt) as they arrive, in batches of 128, and sorted, in batches of 128 and 256, one and
four at a time, with results copied back, beside PyTorch padded to 384 and, with --ort, ONNX Runtime's packing mode (arrival) and
the faster of its sorted batches.
Needs torch and transformers (--ort: onnx, onnxruntime-gpu) on a machine with a GPU.
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
from transformers import BertConfig, BertForQuestionAnswering

from command import run
from replay import median_ms

if "--ort" in sys.argv:
    import ort_peer

SIZES = {
    "tiny": dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512),
    "base": {},
    "large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
}


def agreement(tenon, engine, model, folder):
    """Largest error, in units of the largest logit, and least cosine over the rows that the mask keeps."""
    generator = np.random.default_rng(0)
    worst, largest, least = 0.0, 0.0, 1.0
    for batch, seq in ((1, 1), (1, 7), (3, 129), (5, 64), (2, 511)):
        ids = generator.integers(0, 30000, (batch, seq))
        mask = np.ones((batch, seq), np.int64)
        for row in range(1, batch):
            mask[row, generator.integers(1, seq) :] = 0
        types = generator.integers(0, 2, (batch, seq))
        inputs, outputs = folder / "in.npz", folder / "out.npz"
        np.savez(inputs, input_ids=ids, attention_mask=mask, token_type_ids=types)
        run(tenon, "run", engine, "--inputs", inputs, "--out", outputs)
        ours = np.load(outputs)
        with torch.inference_mode():
            theirs = model(*(torch.tensor(x).cuda() for x in (ids, mask, types)))
        for name in ("start_logits", "end_logits"):
            keep = mask.astype(bool)
            a, b = ours[name][keep].astype(np.float64), theirs[name].float().cpu().numpy()[keep].astype(np.float64)
            worst, largest = max(worst, float(np.abs(a - b).max())), max(largest, float(np.abs(b).max()))
            least = min(least, float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
    return worst / largest, least


def time_torch(model, batch, seq, mode=None):
    """Median milliseconds; `mode`: of torch.compile, None for eager."""
    ids = torch.randint(0, 30000, (batch, seq), device="cuda")
    mask = torch.ones_like(ids)
    if mode:
        torch._dynamo.reset()
    call = torch.compile(model, mode=mode) if mode else model
    with torch.inference_mode():
        return median_ms(lambda: call(input_ids=ids, attention_mask=mask))


def squad(tenon, engine, model, size, folder, ort):
    lengths = [int(n) for n in (pathlib.Path(__file__).parents[1] / "squad_lengths.txt").read_text().split()]
    padded = time_torch(model, 128, 384) / 128 * 1e-3
    for order, chosen, batches in (("arrival", lengths, (128,)), ("sorted", sorted(lengths), (128, 256))):
        path = folder / f"{order}.txt"
        path.write_text("\n".join(map(str, chosen)))
        peers = {"eager padded to 384": 1 / padded}
        if ort:
            fused, packed = ort
            by_batch = {batch: ort_peer.texts_per_second(packed if order == "arrival" else fused, chosen, batch) for batch in batches}
            best = max(by_batch, key=by_batch.get)
            peers[f"ort packing mode, {best}" if order == "arrival" else f"ort, {best}"] = by_batch[best]
        for batch in batches:
            count = (len(chosen) + batch - 1) // batch
            for streams in (1, 4):
                bench = [tenon, "bench", engine, "--batch", batch, "--lengths", f"list:{path}", "--streams", streams, "--warmup", count,
                         "--iterations", 2 * count, "--json", "-q"]
                speeds = sorted(json.loads(run(*bench))[0]["texts_per_s"] for _ in range(3))
                print(f"{size:6} SQuAD {order:8} {batch} {streams} streams: tenon {speeds[1]:9.0f} texts/s [{speeds[0]:.0f}, {speeds[2]:.0f}]"
                      + "".join(f"  {name} {speed:9.0f}, ratio {speeds[1] / speed:5.2f}" for name, speed in peers.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--models", default="base,large")
    parser.add_argument("--cases", default="1x128,1x384,8x128,128x128,32x384")
    parser.add_argument("--compile", default="", help="also torch.compile in these modes; a minute per case")
    parser.add_argument("--ort", action="store_true", help="also ONNX Runtime's CUDA provider")
    parser.add_argument("--profile", action="store_true", help="times per kernel of the first and the last case")
    parser.add_argument("--squad", action="store_true", help="also the lengths of SQuAD's dev set")
    parser.add_argument("--build", default="", help="more options of `tenon build`")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    rows = []
    for size in args.models.split(","):
        torch.manual_seed(0)
        model = BertForQuestionAnswering(BertConfig(**SIZES[size])).eval()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            model.save_pretrained(folder / "model")
            engine = folder / "model.tenon"
            start = time.time()
            report = json.loads(run(args.tenon, "build", folder / "model", "-o", engine, "--target", "cuda", "--fp16", "--json", *args.build.split()))
            print(f"{size}: build {time.time() - start:.2f} s, {report['steps']} steps, file {report['file_bytes'] / 2**20:.0f} MiB")
            ort = ort_peer.export(BertForQuestionAnswering.from_pretrained(folder / "model", attn_implementation="eager").eval(), folder) if args.ort else None
            model = model.cuda()
            worst, least = agreement(args.tenon, engine, model, folder)
            print(f"{size}: against PyTorch fp32: largest error {worst:.2e} of the largest logit, least cosine {least:.7f}", flush=True)
            half = model.half()
            cases = args.cases.split(",")
            for case in cases:
                batch, seq = map(int, case.split("x"))
                bench = [args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 1, "--json", "-q", "--outputs-on-device"]
                ours = [json.loads(run(*bench))[0]["median_s"] * 1e3 for _ in range(2)]
                peers = {"eager": time_torch(half, batch, seq)}
                for mode in filter(None, args.compile.split(",")):
                    peers[mode] = time_torch(half, batch, seq, mode)
                if ort:
                    peers["ort"] = ort_peer.latency(ort[0], batch, seq) * 1e3
                ours.append(json.loads(run(*bench))[0]["median_s"] * 1e3)
                median = statistics.median(ours)
                rows.append(dict(model=size, case=case, tenon_ms=median, spread=[min(ours), max(ours)], peers_ms=peers,
                                 texts_per_s=batch / median * 1e3))
                print(f"{size:6} {case:8} tenon {median:8.3f} ms [{min(ours):.3f}, {max(ours):.3f}]  "
                      + "  ".join(f"{name} {ms:.3f}" for name, ms in peers.items())
                      + f"  ratio {median / min(peers.values()):5.2f}  {batch / median * 1e3:9.0f} texts/s", flush=True)
            if args.squad:
                squad(args.tenon, engine, half, size, folder, ort)
            if args.profile:
                for case in (cases[0], cases[-1]):
                    batch, seq = case.split("x")
                    print(f"-- {size} {case}")
                    print(run(args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 0.2, "--profile", "-q"))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
