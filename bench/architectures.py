#!/usr/bin/env python3
"""Other encoders than BERT: Tenon beside ONNX Runtime on the CPU, or beside PyTorch on a GPU; random weights.

usage: architectures.py TENON [--models bert,deberta-v2] [--cases 1x128,8x128] [--layers 3] [--rounds 5] [--threads 2]
                        [--target cpu|cuda] [--compile]

Models are of BERT-base's width with few layers, exported by TorchScript with dynamic batch and length, all positions used.
cpu: fp32, the same file on both sides, in turns, the same threads. cuda: fp16, outputs on the device, PyTorch eager in half
precision; --compile: torch.compile(mode="reduce-overhead") too. A row has the median milliseconds of all sides, and Tenon's
share of each peer's. Needs torch, transformers, onnx, and onnxruntime for the CPU.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

HIDDEN, HEADS, INNER, VOCABULARY = 768, 12, 3072, 30000


def sizes(layers):
    return dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=HEADS,
                intermediate_size=INNER, max_position_embeddings=514)


def t5(layers):
    return dict(vocab_size=VOCABULARY, d_model=HIDDEN, d_ff=INNER, num_layers=layers, num_heads=HEADS, d_kv=64)


# {name: (class, more of its configuration)}
MODELS = {
    "bert": ("BertModel", {}),
    "deberta-v2": ("DebertaV2Model", dict(relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=256,
                                          max_relative_positions=512, norm_rel_ebd="layer_norm", share_att_key=True)),
    "mpnet": ("MPNetModel", dict(pad_token_id=1)),
    "modernbert": ("ModernBertModel", dict(intermediate_size=1152, global_attn_every_n_layers=3, pad_token_id=0, bos_token_id=1,
                                           eos_token_id=2, cls_token_id=1, sep_token_id=2)),
    "nomic": ("NomicBertModel", {}),
    "roformer": ("RoFormerModel", dict(embedding_size=HIDDEN)),
    "esm": ("EsmModel", dict(pad_token_id=1, mask_token_id=4, position_embedding_type="rotary")),
    "t5": ("T5EncoderModel", t5),
    "gpt2": ("GPT2Model", lambda layers: dict(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=layers, n_head=HEADS, use_cache=False)),
    "llama": ("LlamaModel", dict(num_key_value_heads=4, use_cache=False)),
    "qwen3": ("Qwen3Model", dict(num_key_value_heads=4, head_dim=64, use_cache=False)),
    "gemma3": ("Gemma3TextModel", dict(num_key_value_heads=4, head_dim=64, sliding_window=256, use_cache=False)),
    "bloom": ("BloomModel", lambda layers: dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, n_layer=layers, n_head=HEADS, use_cache=False)),
}


class Rows(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask):
        return self.model(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state


def make(name, layers):
    kind, more = MODELS[name]
    cls = getattr(transformers, kind)
    config = more(layers) if callable(more) else sizes(layers) | more
    torch.manual_seed(0)
    return Rows(cls._from_config(cls.config_class(**config), attn_implementation="eager").eval())


def export(model, path):
    ids = torch.randint(5, VOCABULARY, (2, 128))
    axes = {0: "batch", 1: "seq"}
    torch.onnx.export(model, (ids, torch.ones_like(ids)), path, dynamo=False, opset_version=17, input_names=["input_ids", "attention_mask"],
                      output_names=["y"], dynamic_axes=dict.fromkeys(["input_ids", "attention_mask", "y"], axes))


def median_ms(call, seconds=0.7):
    times, start = [], time.perf_counter()
    call()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def tenon_ms(args, engine, batch, seq):
    command = [args.tenon, "bench", engine, "--batch", batch, "--seq", seq, "--duration", 0.7, "--warmup", 2, "--json", "-q"]
    command += ["--outputs-on-device"] if args.target == "cuda" else ["--threads", args.threads]
    return 1e3 * json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)[0]["median_s"]


def peers_of(args, model, path):
    """{name: function of (batch, seq), giving milliseconds}"""
    def ids_of(batch, seq):
        return torch.randint(5, VOCABULARY, (batch, seq))

    if args.target == "cpu":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = args.threads, 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]

        def run(batch, seq):
            given = {"input_ids": ids_of(batch, seq).numpy(), "attention_mask": np.ones((batch, seq), np.int64)}
            return median_ms(lambda: session.run(None, {n: given[n] for n in names}))

        return {"onnxruntime": run}
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "gpu"))
    import replay

    half = model.cuda().half()

    def timed(call):
        def run(batch, seq):
            ids = ids_of(batch, seq).cuda()
            with torch.inference_mode():
                return replay.median_ms(lambda: call(ids, torch.ones_like(ids)))

        return run

    peers = {"eager": timed(half)}
    if args.compile:
        torch._dynamo.reset()
        peers["compiled"] = timed(torch.compile(half, mode="reduce-overhead"))
    return peers


def measure(args, name, folder):
    model = make(name, args.layers)
    path, engine = folder / f"{name}.onnx", folder / f"{name}.tenon"
    export(model, path)
    subprocess.run([args.tenon, "build", path, "-o", engine, "-q", "--target", args.target] + (["--fp16"] if args.target == "cuda" else []),
                   check=True, stdout=subprocess.DEVNULL)
    peers = peers_of(args, model, path)
    for case in args.cases.split(","):
        batch, seq = map(int, case.split("x"))
        ours, theirs = [], {peer: [] for peer in peers}
        for _ in range(args.rounds):
            ours.append(tenon_ms(args, engine, batch, seq))
            for peer, run in peers.items():
                theirs[peer].append(run(batch, seq))
        row = f"{name:11} {case:>7}  tenon {statistics.median(ours):8.3f} ms [{min(ours):.3f}, {max(ours):.3f}]"
        for peer, times in theirs.items():
            shares = statistics.median(a / b for a, b in zip(ours, times))
            row += f"  {peer} {statistics.median(times):8.3f}, share {shares:.2f}"
        print(row, flush=True)
    path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon", type=pathlib.Path)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cases", default="1x128,8x128")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    unknown = [n for n in args.models.split(",") if n not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}; there are {', '.join(MODELS)}")
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            measure(args, name, pathlib.Path(folder))


if __name__ == "__main__":
    main()
