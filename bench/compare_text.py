#!/usr/bin/env python3
"""From text to label, one text at a time: Tenon beside ONNX Runtime, OpenVINO and PyTorch with Hugging Face's tokenizers.

usage: compare_text.py TENON TEXT_BENCH CHECKPOINT GLUE_DEV_TSV [--threads 2] [--rounds 5] [--texts 872]
                       [--precisions fp32,int8,bf16] [--peers onnxruntime,openvino,pytorch]

CHECKPOINT is a BERT classifier's folder with a tokenizer (../shared/models says how to assemble one), TEXT_BENCH the
program of that name. Each round runs every side once over all texts, in turns; each text is a call of its own, without
padding. A peer's time is that of `tokenizers` (Rust), its inference and the choice of the label. Shares are medians of
the rounds' shares of the sums over all texts. Peers run the same precision: int8 is ONNX Runtime's own dynamic
quantisation, which OpenVINO reads too; bf16 where the peer has it. "labels" is how many are as PyTorch's in fp32.
"""
import argparse
import csv
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np


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
    """infer: arrays of ids, mask and types -> logits."""

    def __init__(self, tokenizer, infer, texts, names):
        self.tokenizer, self.infer, self.texts, self.names = tokenizer, infer, texts, names

    def run(self):
        labels, times = [], []
        begin = time.perf_counter()
        for text in self.texts:
            start = time.perf_counter()
            row = self.tokenizer.encode(text)
            logits = self.infer(*(np.array([r], dtype=np.int64) for r in (row.ids, row.attention_mask, row.type_ids)))
            labels.append(self.names[int(np.argmax(logits[0]))][0])
            times.append(time.perf_counter() - start)
        return time.perf_counter() - begin, statistics.median(times), "".join(labels)


INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def export(model, path):
    import torch

    class Classifier(torch.nn.Module):  # fixes the order of the inputs
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask, types):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    ids = torch.ones(1, 16, dtype=torch.long)
    torch.onnx.export(Classifier().eval(), (ids, ids, ids * 0), path, dynamo=False, opset_version=17, input_names=INPUTS,
                      output_names=["logits"], dynamic_axes=dict.fromkeys(INPUTS, {0: "batch", 1: "seq"}))


def peers_of(args, precision, model, folder):
    found = {}
    onnx = folder / "model.onnx"
    if not onnx.exists():
        export(model, onnx)
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(str(onnx), str(folder / "int8.onnx"), weight_type=QuantType.QInt8)
        onnx = folder / "int8.onnx"
    if "onnxruntime" in args.peers and precision != "bf16":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        found["onnxruntime"] = lambda *x: session.run(None, dict(zip(INPUTS, x)))[0]
    if "openvino" in args.peers:
        import openvino

        core = openvino.Core()
        if precision != "bf16" or "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            hint = "bf16" if precision == "bf16" else "f32"
            compiled = core.compile_model(str(onnx), "CPU", {"INFERENCE_NUM_THREADS": args.threads,
                                                             "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint})
            request = compiled.create_infer_request()
            found["openvino"] = lambda *x: request.infer(dict(zip(INPUTS, x)))[compiled.output(0)]
    if "pytorch" in args.peers and precision != "int8":
        import copy

        import torch

        torch.set_num_threads(args.threads)
        eager = copy.deepcopy(model).to(torch.bfloat16 if precision == "bf16" else torch.float32)

        @torch.inference_mode()
        def infer(ids, mask, types):
            ids, mask, types = (torch.from_numpy(x) for x in (ids, mask, types))
            return eager(input_ids=ids, attention_mask=mask, token_type_ids=types).logits.float().numpy()

        found["pytorch"] = infer
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tenon", "text_bench", "checkpoint", "glue"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=872)
    parser.add_argument("--precisions", default="fp32,int8,bf16")
    parser.add_argument("--peers", default="onnxruntime,openvino,pytorch")
    args = parser.parse_args()

    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification

    rows = csv.DictReader(pathlib.Path(args.glue).open(), delimiter="\t", quoting=csv.QUOTE_NONE)
    texts = [r["sentence"].strip() for r in rows][: args.texts]
    model = BertForSequenceClassification.from_pretrained(args.checkpoint).eval()
    tokenizer = Tokenizer.from_file(str(pathlib.Path(args.checkpoint) / "tokenizer.json"))
    tokenizer.no_padding()
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    lengths = [len(tokenizer.encode(t).ids) for t in texts]
    print(f"{len(texts)} texts of {statistics.median(lengths):.0f} tokens (median; {min(lengths)} to {max(lengths)}), "
          f"{args.threads} threads, {args.rounds} rounds")
    print("| precision | side | ms a text, all texts | median text, ms | tenon's share (spread) | labels |")
    print("|---|---|---|---|---|---|", flush=True)
    expected = None
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for precision in args.precisions.split(","):
            sides = {"tenon": Tenon(args, precision, folder, texts)}
            for peer, infer in peers_of(args, precision, model, folder).items():
                sides[peer] = Peer(tokenizer, infer, texts, names)
            expected = expected or Peer(tokenizer, peers_of(argparse.Namespace(**{**vars(args), "peers": "pytorch"}), "fp32", model,
                                                            folder)["pytorch"], texts, names).run()[2]
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
