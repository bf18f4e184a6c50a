#!/usr/bin/env python3
"""BERT-base shape with random weights on one CPU: Tenon in fp32, bf16 and int8 beside PyTorch eager, interleaved.

usage: amx_study.py TENON [--threads 2,16] [--cases 1x16,1x128,8x128] [--rounds 5]

Needs torch. Prints medians in ms; "torch" is twelve layers of F.linear, scaled_dot_product_attention, layer_norm and gelu.
"""
import argparse
import json
import pathlib
import statistics
import struct
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F

HIDDEN, LAYERS, HEADS, INNER, WORDS = 768, 12, 12, 3072, 30522


def random_weights():
    shapes = {"embeddings.word_embeddings.weight": (WORDS, HIDDEN), "embeddings.position_embeddings.weight": (512, HIDDEN),
              "embeddings.token_type_embeddings.weight": (2, HIDDEN)}
    norms = ["embeddings.LayerNorm"]
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for name, n, k in (("attention.self.query", HIDDEN, HIDDEN), ("attention.self.key", HIDDEN, HIDDEN),
                           ("attention.self.value", HIDDEN, HIDDEN), ("attention.output.dense", HIDDEN, HIDDEN),
                           ("intermediate.dense", INNER, HIDDEN), ("output.dense", HIDDEN, INNER)):
            shapes[layer + name + ".weight"], shapes[layer + name + ".bias"] = (n, k), (n,)
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
    weights = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    for name in norms:
        weights[name + ".weight"], weights[name + ".bias"] = torch.ones(HIDDEN), torch.zeros(HIDDEN)
    return weights


def write_checkpoint(folder, weights):
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "intermediate_size": INNER, "vocab_size": WORDS, "max_position_embeddings": 512,
              "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for name, w in weights.items():
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": [offset, offset + 4 * w.numel()]}
        offset += 4 * w.numel()
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for w in weights.values():
            file.write(w.contiguous().numpy().tobytes())


def torch_encoder(weights, dtype):
    w = {k: v.to(dtype) for k, v in weights.items()}

    @torch.inference_mode()
    def run(ids):
        batch, seq = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:seq]
        x = F.layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], (HIDDEN,))
        for i in range(LAYERS):
            p = f"encoder.layer.{i}."

            def linear(name, v):
                return F.linear(v, w[p + name + ".weight"], w[p + name + ".bias"])

            def heads(name):
                return linear("attention.self." + name, x).view(batch, seq, HEADS, -1).transpose(1, 2)

            a = F.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"))
            x = F.layer_norm(x + linear("attention.output.dense", a.transpose(1, 2).reshape(batch, seq, HIDDEN)), (HIDDEN,))
            x = F.layer_norm(x + linear("output.dense", F.gelu(linear("intermediate.dense", x))), (HIDDEN,))
        return x

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("--threads", default="2,16")
    parser.add_argument("--cases", default="1x16,1x128,8x128")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    weights = random_weights()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_checkpoint(folder, weights)
        engines = {p: folder / f"{p}.tenon" for p in ("fp32", "bf16", "int8")}
        for precision, engine in engines.items():
            flags = [] if precision == "fp32" else [f"--{precision}"]
            subprocess.run([args.tenon, "build", str(folder), "-o", str(engine), "-q", *flags], check=True, stdout=subprocess.DEVNULL)
        peers = {"torch fp32": torch_encoder(weights, torch.float32), "torch bf16": torch_encoder(weights, torch.bfloat16)}
        print(f"{'threads':>8}{'case':>8}" + "".join(f"{n:>14}" for n in (*engines, *peers)), flush=True)
        for threads in map(int, args.threads.split(",")):
            torch.set_num_threads(threads)
            for case in args.cases.split(","):
                batch, seq = map(int, case.split("x"))
                ids = torch.randint(5, WORDS, (batch, seq))
                times = {n: [] for n in (*engines, *peers)}
                for _ in range(args.rounds):
                    for n, engine in engines.items():
                        report = json.loads(subprocess.run([args.tenon, "bench", str(engine), "--batch", str(batch), "--seq", str(seq), "--iterations",
                                                            "7", "--warmup", "2", "--threads", str(threads), "--json"], check=True, capture_output=True,
                                                           text=True).stdout)
                        times[n].append(1e3 * report[0]["median_s"])
                    for n, peer in peers.items():
                        peer(ids)
                        start = time.perf_counter()
                        for _ in range(3):
                            peer(ids)
                        times[n].append(1e3 / 3 * (time.perf_counter() - start))
                print(f"{threads:>8}{case:>8}" + "".join(f"{statistics.median(t):>14.2f}" for t in times.values()), flush=True)


if __name__ == "__main__":
    main()
