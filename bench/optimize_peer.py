#!/usr/bin/env python3
"""What `tenon optimize` is worth in ONNX Runtime: BERT-base (random weights) as exported, after ONNX Runtime's transformer optimizer,
and after tenon's, with standard operators and with com.microsoft's; CPU, interleaved, medians.

usage: optimize_peer.py TENON [--rounds 9] [--threads 2] [--cases 1x128,4x64]

Prints for each case the largest difference from the model as exported (a quarter of every row is padding), milliseconds (median,
least, greatest), and the median of the rounds' ratios to what ONNX Runtime's optimizer wrote. With --threads 1 the milliseconds
are the processor's, which other programs hardly change.
Needs torch, transformers, onnx and onnxruntime.
"""
import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime
import torch
from onnxruntime.transformers import optimizer
from transformers import BertConfig, BertModel

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False).eval()

    def forward(self, ids, mask, types):
        return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", default="1x128,4x64")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        example = tuple(torch.ones(1, 16, dtype=torch.int64) for _ in INPUTS)
        axes = {name: {0: "batch", 1: "seq"} for name in INPUTS + ["hidden"]}
        torch.onnx.export(Encoder(), example, folder / "exported.onnx", input_names=INPUTS, output_names=["hidden"], dynamic_axes=axes,
                          opset_version=17, dynamo=False)
        optimizer.optimize_model(str(folder / "exported.onnx"), model_type="bert", num_heads=12, hidden_size=768,
                                 opt_level=0).save_model_to_file(str(folder / "onnxruntime.onnx"))
        for out, extra in (("tenon", []), ("tenon-microsoft", ["--microsoft"])):
            subprocess.run([args.tenon, "optimize", folder / "exported.onnx", "-o", folder / f"{out}.onnx", *extra], check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        sessions = {path.stem: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                    for path in sorted(folder.glob("*.onnx"))}
        clock = time.thread_time if args.threads == 1 else time.perf_counter
        for case in args.cases.split(","):
            batch, seq = map(int, case.split("x"))
            ids = np.random.randint(0, 30000, (batch, seq))
            mask = np.ones_like(ids)
            kept = seq - seq // 4
            mask[:, kept:] = 0
            feed = dict(zip(INPUTS, (ids, mask, np.zeros_like(ids))))
            outputs = {name: session.run(None, feed)[0][:, :kept] for name, session in sessions.items()}
            times = {name: [] for name in sessions}
            for _ in range(args.rounds):
                for name, session in sessions.items():
                    start = clock()
                    session.run(None, feed)
                    times[name].append(clock() - start)
            for name in sessions:
                ratio = statistics.median(a / b for a, b in zip(times[name], times["onnxruntime"]))
                worst = float(np.abs(outputs[name] - outputs["exported"]).max())
                print(f"{case:8} {name:16} {statistics.median(times[name]) * 1e3:8.1f} ms [{min(times[name]) * 1e3:.1f}, {max(times[name]) * 1e3:.1f}]"
                      f"  {ratio:.3f}  off by {worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
