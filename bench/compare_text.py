#!/usr/bin/env python3
"""From text to label, one text at a time: Tenon beside ONNX Runtime, OpenVINO and PyTorch with Hugging Face's tokenizers.

usage: compare_text.py TENON TEXT_BENCH CHECKPOINT GLUE_DEV_TSV [--threads 2] [--rounds 5] [--texts 872]
                       [--precisions fp32,int8,bf16] [--peers onnxruntime,openvino,pytorch]
                       [--isa avx2]

CHECKPOINT is a BERT classifier's folder with a tokenizer (../shared/models says how to assemble one), TEXT_BENCH the
program of that name. Each round runs every side once over all texts, in turns; each text is a call of its own, without
padding. A peer's time is that of `tokenizers` (Rust), its inference and the choice of the label. Shares are medians of
the rounds' shares of the sums over all texts. Peers run the same precision: int8 is ONNX Runtime's own dynamic
quantisation, which OpenVINO reads too; bf16 where the peer has it. "labels" is how many are as PyTorch's in fp32.
--isa is compare_cpu's.
"""
import argparse
import csv
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

import compare_cpu


class Tenon:
    def __init__(self, args, precision, folder, texts):
        engine = folder / f"{precision}.tenon"
        flags = [] if precision == "fp32" else [f"--{precision}"]
        subprocess.run([args.tenon, "build", args.checkpoint, "-o", engine, "-q", *flags], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        (folder / "texts.txt").write_text("".join(t + "\n" for t in texts))
        self.process = subprocess.Popen([args.text_bench, engine, folder / "texts.txt", str(args.threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        print("run", file=self.process.stdin, flush=True)
        seconds, median, labels = self.process.stdout.readline().split()
        return float(seconds), float(median), labels


class Peer:
    """infer: a function of a feed, as compare_cpu's peers are."""

    def __init__(self, tokenizer, infer, texts):
        self.tokenizer, self.infer, self.texts = tokenizer, infer, texts

    def run(self):
        labels, times = [], []
        begin = time.perf_counter()
        for text in self.texts:
            start = time.perf_counter()
            row = self.tokenizer.encode(text)
            rows = (np.array([r], dtype=np.int64) for r in (row.ids, row.attention_mask, row.type_ids))
            labels.append(chr(ord("a") + int(np.argmax(self.infer(dict(zip(compare_cpu.INPUTS, rows)))[0]))))
            times.append(time.perf_counter() - start)
        return time.perf_counter() - begin, statistics.median(times), "".join(labels)


def classifier(checkpoint):
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()

    class Classifier(torch.nn.Module):  # fixes the order of the inputs
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask, types):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    return Classifier().eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tenon", "text_bench", "checkpoint", "glue"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=872)
    parser.add_argument("--precisions", default="fp32,int8,bf16")
    parser.add_argument("--peers", default="onnxruntime,openvino,pytorch")
    compare_cpu.add_isa_argument(parser)
    args = parser.parse_args()
    compare_cpu.hide_above(args.isa, args.tenon)

    from tokenizers import Tokenizer

    rows = csv.DictReader(pathlib.Path(args.glue).open(), delimiter="\t", quoting=csv.QUOTE_NONE)
    texts = [r["sentence"].strip() for r in rows][: args.texts]
    model = classifier(args.checkpoint)
    tokenizer = Tokenizer.from_file(str(pathlib.Path(args.checkpoint) / "tokenizer.json"))
    tokenizer.no_padding()
    lengths = [len(tokenizer.encode(t).ids) for t in texts]
    print(f"{len(texts)} texts of {statistics.median(lengths):.0f} tokens (median; {min(lengths)} to {max(lengths)}), "
          f"{args.threads} threads, {args.rounds} rounds")
    print("| precision | side | ms a text, all texts | median text, ms | tenon's share (spread) | labels |")
    print("|---|---|---|---|---|---|", flush=True)
    precisions = args.precisions.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        compare_cpu.write_onnx(model, folder / "model.onnx", "logits")
        # ONNX Runtime first: it makes the int8 file.
        found = {"onnxruntime": compare_cpu.onnxruntime_peers(folder / "model.onnx", precisions, args.threads)}
        found["onnxruntime"].pop("bf16")  # which it has not on CPUs
        if "openvino" in args.peers:
            found["openvino"] = compare_cpu.openvino_peers(folder / "model.onnx", precisions, args.threads)
        found["pytorch"] = compare_cpu.pytorch_peers(model, {*precisions, "fp32"}, args.threads)
        expected = Peer(tokenizer, found["pytorch"]["fp32"], texts).run()[2]
        for precision in precisions:
            sides = {"tenon": Tenon(args, precision, folder, texts)}
            for n, by in found.items():
                if n in args.peers.split(",") and precision in by:
                    sides[n] = Peer(tokenizer, by[precision], texts)
            results = {s: [] for s in sides}
            for side in sides.values():  # warms up
                side.run()
            for _ in range(args.rounds):
                for side, run in sides.items():
                    results[side].append(run.run())
            for side, done in results.items():
                shares = sorted(ours[0] / theirs[0] for ours, theirs in zip(results["tenon"], done))
                share = "" if side == "tenon" else f"{statistics.median(shares):.3f} ({shares[0]:.3f}-{shares[-1]:.3f})"
                same = sum(a == b for a, b in zip(done[-1][2], expected))
                print(f"| {precision} | {side} | {1e3 * statistics.median(d[0] for d in done) / len(texts):.3f} | "
                      f"{1e3 * statistics.median(d[1] for d in done):.3f} | {share} | {same} of {len(texts)} |", flush=True)
            sides["tenon"].process.stdin.close()


if __name__ == "__main__":
    main()
