#!/usr/bin/env python3
"""fp32, tf32, bf16 and fp16 on a GPU in one run: speed, memory, accuracy, beside PyTorch in the same precision.

usage: precisions.py TENON [--cases 1x128,32x128] [--out table.json]

A question-answering BERT-base with random weights; outputs stay on the device. Errors are against PyTorch's fp32 (true
fp32: no tf32) over masked batches of odd lengths, in units of the largest logit; PyTorch's own of the same precision are
beside them. It is timed as a CUDA graph, so that its launches cost nothing. Needs torch and transformers.
"""
import argparse
import copy
import json
import pathlib
import statistics
import tempfile

import torch
from transformers import BertConfig, BertForQuestionAnswering

from command import run
from encoder import agreement
from replay import graph_of, median_ms


def time_graph(model, batch, seq):
    """Median milliseconds of a replayed CUDA graph of the model, without a mask: while a graph is recorded transformers
    makes one even of ones, and attention with it is slower."""
    ids = torch.randint(0, 30000, (batch, seq), device="cuda")

    def forward(_):
        return model.qa_outputs(model.bert.encoder(model.bert.embeddings(input_ids=ids))[0])

    with torch.inference_mode():
        return median_ms(graph_of(forward).replay)


def error_of(model, exact):
    """Largest error of the logits of (3, 129) tokens, in units of the largest."""
    ids = torch.randint(0, 30000, (3, 129), device="cuda")
    with torch.inference_mode():
        got = [model(input_ids=ids)[name].double() for name in ("start_logits", "end_logits")]
        torch.backends.cuda.matmul.allow_tf32 = False
        expected = [exact(input_ids=ids)[name].double() for name in ("start_logits", "end_logits")]
    return max(float((a - b).abs().max()) for a, b in zip(got, expected)) / max(float(b.abs().max()) for b in expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--cases", default="1x128,32x128")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    torch.manual_seed(0)
    exact = BertForQuestionAnswering(BertConfig()).eval()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        exact.save_pretrained(folder / "model")
        exact = exact.cuda()
        for precision, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            engine = folder / f"{precision}.tenon"
            flags = [] if precision == "fp32" else [f"--{precision}"]
            run(args.tenon, "build", folder / "model", "-o", engine, "--target", "cuda", *flags, "-q")
            torch.backends.cuda.matmul.allow_tf32 = False
            worst, least = agreement(args.tenon, engine, exact, folder)
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            peer = copy.deepcopy(exact).to(dtype)
            peer_error = error_of(peer, exact)
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            for case in args.cases.split(","):
                batch, seq = map(int, case.split("x"))
                bench = [args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 0.5, "--json", "-q", "--outputs-on-device"]
                made = [json.loads(run(*bench))[0] for _ in range(3)]
                ours = statistics.median(m["median_s"] for m in made) * 1e3
                torch.cuda.reset_peak_memory_stats()
                theirs = time_graph(peer, batch, seq)
                memory = torch.cuda.max_memory_allocated() / 2**20
                weights = engine.stat().st_size / 2**20
                rows.append(dict(precision=precision, case=case, tenon_ms=ours, torch_ms=theirs, error=worst, torch_error=peer_error, cosine=least,
                                 engine_mib=weights, arena_mib=made[0]["arena_bytes"] / 2**20, torch_mib=memory))
                print(f"{precision} {case:7} tenon {ours:8.3f} ms  PyTorch {theirs:8.3f} ms  ratio {ours / theirs:5.2f}  error {worst:.1e} (PyTorch {peer_error:.1e})  cosine {least:.8f}  "
                      f"engine {weights:.0f} MiB + arena {made[0]['arena_bytes'] / 2**20:.0f} MiB (torch {memory:.0f} MiB)", flush=True)
            del peer
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
