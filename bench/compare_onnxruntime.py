#!/usr/bin/env python3
"""Times Tenon against ONNX Runtime on the CPU in one run, interleaved; BERT-base shape, random weights, fp32.

usage: compare_onnxruntime.py TENON [--layers 12] [--rounds 7] [--threads 2] [--squad dev-v1.1.json --vocab vocab.txt]

Prints, for each case, the median of both over all rounds with their spread, and the ratio:
  1x128 and 1x16, full length;
  32 rows of SQuAD lengths (question + context, cut at 384), padded to the longest, where --squad is given.
Also the sizes and times of the issue's "BERT-base shape" line: build time, file size, load time, peak memory.
Needs torch, transformers and onnxruntime; nothing of this is needed to build or test Tenon.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import numpy as np


def export(folder, layers):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=layers)
    bert = BertModel(config, add_pooling_layer=False).eval()

    class Encoder(torch.nn.Module):  # fixes the order of the inputs, which differs between versions of transformers
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask, types):
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    model = Encoder().eval()
    ids = torch.randint(5, 30000, (1, 16))
    path = folder / "bert_base.onnx"
    axes = {0: "batch", 1: "seq"}
    torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), path, dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask", "token_type_ids"], output_names=["last_hidden_state"],
                      dynamic_axes={n: axes for n in ("input_ids", "attention_mask", "token_type_ids", "last_hidden_state")})
    return path


def run(tenon, *args):
    return json.loads(subprocess.run([tenon, *args, "--json"], check=True, capture_output=True, text=True).stdout)


def peak_of(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def squad_lengths(squad, vocab, count):
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab_file=vocab)
    data = json.loads(pathlib.Path(squad).read_text())["data"]
    pairs = [(q["question"], p["context"]) for a in data for p in a["paragraphs"] for q in p["qas"]]
    step = len(pairs) // count
    return [min(384, len(tokenizer(*pairs[i * step]).input_ids)) for i in range(count)]


def feeds(lengths, rng):
    batch, seq = len(lengths), max(lengths)
    mask = (np.arange(seq)[None, :] < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(5, 30000, (batch, seq)) * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--squad")
    parser.add_argument("--vocab")
    args = parser.parse_args()
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, engine = export(folder, args.layers), folder / "bert_base.tenon"
        built = run(args.tenon, "build", str(model), "-o", str(engine))
        again = folder / "again.tenon"
        run(args.tenon, "build", str(model), "-o", str(again))
        weights = built["weight_bytes"]
        print(f"build {built['seconds']:.2f} s, file {os.path.getsize(engine) / weights:.4f} x weights ({weights / 2**20:.1f} MiB), peak resident "
              f"{built['peak_resident_bytes'] / weights:.2f} x, identical bytes: {engine.read_bytes() == again.read_bytes()}")

        options = ort.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        cases = {"1x128": [128], "1x16": [16]}
        if args.squad:
            cases["32 SQuAD rows"] = squad_lengths(args.squad, args.vocab, 32)
        for case, lengths in cases.items():
            feed = feeds(lengths, rng)
            np.savez(folder / "in.npz", **feed)
            theirs, ours = [], []
            runs = 3 if len(lengths) > 1 else 7
            lengths_file = folder / "lengths.txt"
            lengths_file.write_text("\n".join(map(str, lengths)))
            for _ in range(args.rounds):
                session.run(None, feed)
                times = []
                for _ in range(runs):
                    start = time.perf_counter()
                    session.run(None, feed)
                    times.append(time.perf_counter() - start)
                theirs.append(statistics.median(times))
                point = run(args.tenon, "bench", str(engine), "--batch", str(len(lengths)), "--lengths", f"list:{lengths_file}", "--iterations", str(runs),
                            "--warmup", "1", "--threads", str(args.threads))[0]
                ours.append(point["median_s"])
            expected = session.run(None, feed)[0]
            subprocess.run([args.tenon, "run", str(engine), "--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")], check=True)
            actual = np.load(folder / "out.npz")["last_hidden_state"]
            worst = np.abs((actual - expected) * feed["attention_mask"][:, :, None]).max()
            ratio = statistics.median(o / t for o, t in zip(ours, theirs))
            print(f"{case:>14}: tenon {1e3 * statistics.median(ours):8.2f} ms ({1e3 * min(ours):.2f}-{1e3 * max(ours):.2f}), onnxruntime "
                  f"{1e3 * statistics.median(theirs):8.2f} ms ({1e3 * min(theirs):.2f}-{1e3 * max(theirs):.2f}), ratio {ratio:.3f}, max abs {worst:.1e}, "
                  f"run peak {point['peak_resident_bytes'] / weights:.2f} x weights")


if __name__ == "__main__":
    main()
