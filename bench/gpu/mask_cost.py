#!/usr/bin/env python3
"""What an attention mask costs that hides nothing: the same encoder exported with and without a mask input.

usage: mask_cost.py TENON [--target cuda --precision fp16] [--case 32x128] [--rounds 14]

BERT-base with random weights, exported by torch.onnx with dynamic batch and length. Runs both engines in turns and prints
the medians and the median of the rounds' ratios. On a GPU the outputs stay on the device; ids and the mask (of ones) come
from the host.
"""
import argparse
import json
import pathlib
import statistics
import tempfile

import torch
from transformers import BertConfig, BertModel

from command import run


class Encoder(torch.nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask=None):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]


def export(model, path, masked):
    ids = torch.randint(1000, 20000, (2, 16))
    inputs = (ids, torch.ones_like(ids)) if masked else (ids,)
    names = ["input_ids", "attention_mask"][: len(inputs)]
    torch.onnx.export(model, inputs, path, dynamo=False, input_names=names, output_names=["hidden"], opset_version=17,
                      dynamic_axes={n: {0: "batch", 1: "sequence"} for n in names + ["hidden"]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--precision", default="fp16", help="fp32 for none of the options")
    parser.add_argument("--case", default="32x128")
    parser.add_argument("--rounds", type=int, default=14)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Encoder(BertModel(BertConfig(), add_pooling_layer=False)).eval()
    batch, seq = args.case.split("x")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        engines = {}
        for kind in ("masked", "plain"):
            export(model, folder / f"{kind}.onnx", kind == "masked")
            engines[kind] = folder / f"{kind}.tenon"
            precision = [] if args.precision == "fp32" else ["--" + args.precision]
            run(args.tenon, "build", folder / f"{kind}.onnx", "-o", engines[kind], "--target", args.target, *precision, "-q")
        bench = ["--batch", batch, "--seq", seq, "--duration", 0.5, "--json", "-q"]
        if args.target != "cpu":
            bench.append("--outputs-on-device")
        times = {kind: [] for kind in engines}
        for i in range(args.rounds):
            for kind in ("masked", "plain") if i % 2 == 0 else ("plain", "masked"):
                times[kind].append(json.loads(run(args.tenon, "bench", engines[kind], *bench))[0]["median_s"] * 1e3)
        ratios = sorted(a / b for a, b in zip(times["masked"], times["plain"]))
        print(f"{args.case} {args.target} {args.precision}: mask of ones {statistics.median(times['masked']):.3f} ms, no mask "
              f"{statistics.median(times['plain']):.3f} ms, ratio {statistics.median(ratios):.4f} [{ratios[0]:.4f}, {ratios[-1]:.4f}]")


if __name__ == "__main__":
    main()
