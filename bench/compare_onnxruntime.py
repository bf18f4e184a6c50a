#!/usr/bin/env python3
"""Times Tenon against ONNX Runtime on the CPU in one run, interleaved; BERT-base shape, random weights.

usage: compare_onnxruntime.py TENON [--precisions fp32,bf16,int8] [--cases 1x16,1x128] [--layers 12] [--rounds 7] [--threads 2]
                              [--squad dev-v1.1.json --vocab vocab.txt]

Prints, for each precision and case, the median of both over all rounds with their spread, and the ratio. ONNX Runtime runs
fp32 beside fp32 and bf16 (it has no bf16 on CPUs), and its own dynamic quantisation beside int8. Cases are BATCHxLENGTH at
full length, and 32 rows of SQuAD lengths (question + context, cut at 384), padded to the longest, where --squad is given.
"cosine" is of all hidden states to ONNX Runtime's in fp32.
Also the sizes and times of the issue's "BERT-base shape" line: build time, file size, load time, peak memory.
Needs torch, transformers, onnx and onnxruntime; nothing of this is needed to build or test Tenon.
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


def sessions_of(ort, model, precisions, threads):
    """ONNX Runtime's own session for each precision."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    found = {"fp32": ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])}
    if "int8" in precisions:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        narrow = model.with_name("int8.onnx")
        quantize_dynamic(str(model), str(narrow), weight_type=QuantType.QInt8)
        found["int8"] = ort.InferenceSession(str(narrow), options, providers=["CPUExecutionProvider"])
    return found


def time_case(tenon, engine, session, feed, lengths, folder, args):
    """Medians of both sides in each of the rounds, and the last report of `tenon bench`."""
    runs = 3 if sum(lengths) > 500 else 7
    lengths_file = folder / "lengths.txt"
    lengths_file.write_text("\n".join(map(str, lengths)))
    theirs, ours = [], []
    for _ in range(args.rounds):
        session.run(None, feed)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
        theirs.append(statistics.median(times))
        point = run(tenon, "bench", str(engine), "--batch", str(len(lengths)), "--lengths", f"list:{lengths_file}", "--iterations",
                    str(runs), "--warmup", "1", "--threads", str(args.threads))[0]
        ours.append(point["median_s"])
    return ours, theirs, point


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("--precisions", default="fp32")
    parser.add_argument("--cases", default="1x128,1x16")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--squad")
    parser.add_argument("--vocab")
    args = parser.parse_args()
    import onnxruntime as ort

    precisions = args.precisions.split(",")
    cases = {case: [int(case.split("x")[1])] * int(case.split("x")[0]) for case in args.cases.split(",")}
    if args.squad:
        cases["32 SQuAD rows"] = squad_lengths(args.squad, args.vocab, 32)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, engine = export(folder, args.layers), folder / "bert_base.tenon"
        sessions = sessions_of(ort, model, precisions, args.threads)
        rng = np.random.default_rng(0)
        feed_of = {case: feeds(lengths, rng) for case, lengths in cases.items()}
        for precision in precisions:
            flags = [] if precision == "fp32" else [f"--{precision}"]
            built = run(args.tenon, "build", str(model), "-o", str(engine), *flags)
            again = folder / "again.tenon"
            run(args.tenon, "build", str(model), "-o", str(again), *flags)
            weights = built["weight_bytes"]
            print(f"{precision}: build {built['seconds']:.2f} s, file {os.path.getsize(engine) / weights:.4f} x weights ({weights / 2**20:.1f} MiB), "
                  f"peak resident {built['peak_resident_bytes'] / weights:.2f} x, identical bytes: {engine.read_bytes() == again.read_bytes()}")
            for case, lengths in cases.items():
                feed = feed_of[case]
                session = sessions.get(precision, sessions["fp32"])
                ours, theirs, point = time_case(args.tenon, engine, session, feed, lengths, folder, args)
                np.savez(folder / "in.npz", **feed)
                subprocess.run([args.tenon, "run", str(engine), "--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")], check=True)
                mask = feed["attention_mask"][:, :, None]
                expected = sessions["fp32"].run(None, feed)[0] * mask
                actual = np.load(folder / "out.npz")["last_hidden_state"] * mask
                ratio = statistics.median(o / t for o, t in zip(ours, theirs))
                print(f"{case:>14}: tenon {1e3 * statistics.median(ours):8.2f} ms ({1e3 * min(ours):.2f}-{1e3 * max(ours):.2f}), onnxruntime "
                      f"{1e3 * statistics.median(theirs):8.2f} ms ({1e3 * min(theirs):.2f}-{1e3 * max(theirs):.2f}), ratio {ratio:.3f}, max abs "
                      f"{np.abs(actual - expected).max():.1e}, cosine {cosine(actual, expected):.6f}, run peak "
                      f"{point['peak_resident_bytes'] / weights:.2f} x weights", flush=True)


if __name__ == "__main__":
    main()
