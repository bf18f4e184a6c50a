#!/usr/bin/env python3
"""Times Tenon against ONNX Runtime, OpenVINO and PyTorch on the CPU, interleaved; BERT-base shape, random weights.

usage: compare_cpu.py TENON [--precisions fp32,bf16,int8,quantized,static] [--cases 1x16,1x128] [--layers 12] [--rounds 7] [--threads 2]
                      [--peers onnxruntime,openvino,pytorch] [--gemm-bench PROGRAM] [--out FOLDER]
                      [--squad dev-v1.1.json --vocab vocab.txt] [--isa avx2]

Each round runs each side in turn on as many threads; a row gives the medians over all rounds with their spread, and
Tenon's share of each peer's time (the median of the rounds' shares). ONNX Runtime runs its fp32 session, beside int8
the output of its own dynamic quantisation, which OpenVINO runs too (and as "quantized" Tenon, which else quantises the
fp32 model); as "static" both run what quantize_static makes of the linears; beside bf16 it runs fp32 (it has no bf16 on
CPUs), the others bf16. Cases are BATCHxLENGTH at full length, and 32 rows of SQuAD lengths (question + context, cut at 384), padded to the longest, where --squad is given. "cosine" is
of all hidden states to ONNX Runtime's in fp32.
With --gemm-bench (the program of that name) a row also gives Tenon's share of the peak rate of multiply-adds that the
processor reached just before. --isa hides from all sides what lies above that instruction set (mask_isa.cc; its library is
expected beside TENON). --out writes the table and a chart. Also the sizes and times of the issue's "BERT-base
shape" line: build time, file size, load time, peak memory. Needs torch, transformers, onnx and onnxruntime, and
openvino unless --peers leaves it out; nothing of this is needed to build or test Tenon.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
# Files that ONNX Runtime quantises, by the precision whose row runs them.
QUANTIZED = {"quantized": "int8.onnx", "static": "static.onnx"}


def add_isa_argument(parser):
    parser.add_argument("--isa", help="avx2, avx_vnni, avx512, avx512_vnni or avx512_bf16: hide what lies above from all sides")


def hide_above(isa, tenon):
    """Starts this program again with what lies above `isa` hidden from it and its children, unless that is so already."""
    if isa in (None, os.environ.get("BENCH_ISA")):
        return
    library = pathlib.Path(tenon).resolve().with_name("libmask_isa.so")
    if not library.exists():
        raise SystemExit(f"{library}: not there; build the target mask_isa")
    environment = dict(os.environ, LD_PRELOAD=str(library), BENCH_ISA=isa)
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def write_onnx(model, path, output):
    """A module of ids, mask and types, with dynamic batch and length."""
    import torch

    ids = torch.randint(5, 30000, (1, 16))
    axes = {0: "batch", 1: "seq"}
    torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), path, dynamo=False, opset_version=17,
                      input_names=INPUTS, output_names=[output], dynamic_axes=dict.fromkeys(INPUTS + [output], axes))


def export(folder, layers):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    bert = BertModel(BertConfig(num_hidden_layers=layers), add_pooling_layer=False).eval()

    class Encoder(torch.nn.Module):  # fixes the order of the inputs, which differs between versions of transformers
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask, types):
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    model = Encoder().eval()
    path = folder / "bert_base.onnx"
    write_onnx(model, path, "last_hidden_state")
    return path, model


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


def peer_precision(precision):
    return "int8" if precision == "quantized" else precision


def feeds(lengths, rng):
    batch, seq = len(lengths), max(lengths)
    mask = (np.arange(seq)[None, :] < np.array(lengths)[:, None]).astype(np.int64)
    return dict(zip(INPUTS, (rng.integers(5, 30000, (batch, seq)) * mask, mask, np.zeros_like(mask))))


def onnxruntime_peers(model, precisions, threads):
    """{precision: function of a feed}; int8 is its own dynamic quantisation."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads

    def session(path):
        made = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda feed: made.run(None, feed)[0]

    found = {"fp32": session(model)}
    if "int8" in precisions:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(str(model), str(model.with_name("int8.onnx")), weight_type=QuantType.QInt8)
        found["int8"] = session(model.with_name("int8.onnx"))
    if "static" in precisions:
        quantize_linears(model, model.with_name(QUANTIZED["static"]))
        found["static"] = session(model.with_name(QUANTIZED["static"]))
    found["bf16"] = found["fp32"]
    return found


def quantize_linears(model, path):
    """Products by weights with QuantizeLinear and DequantizeLinear around them, by the ranges that eight texts show."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    computed = [node.name for node in graph.node if node.op_type == "MatMul" and not weights & set(node.input)]

    class Texts(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(1)
            self.left = [feeds([128], rng) for _ in range(8)]

        def get_next(self):
            return self.left.pop() if self.left else None

    quantize_static(str(model), str(path), Texts(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8,
                    op_types_to_quantize=["MatMul"], nodes_to_exclude=computed)


def openvino_peers(model, precisions, threads):
    import openvino

    core = openvino.Core()

    def compiled(path, precision):
        made = core.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                                     "INFERENCE_PRECISION_HINT": precision})
        request = made.create_infer_request()
        return lambda feed: request.infer(feed)[made.output(0)]

    paths = {"fp32": (model, "f32"), "bf16": (model, "bf16"), "int8": (model.with_name("int8.onnx"), "f32")}
    # Where the processor has no products of bf16 it imitates them, at a tenth of the speed of fp32 or less.
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {p: compiled(*paths[p]) for p in precisions if p != "bf16" or has_bf16}


def pytorch_peers(encoder, precisions, threads):
    import copy

    import torch

    torch.set_num_threads(threads)

    def eager(dtype):
        model = copy.deepcopy(encoder).to(dtype)

        @torch.inference_mode()
        def run(feed):
            tensors = [torch.from_numpy(feed[n]) for n in INPUTS]
            return model(*tensors).float().numpy()

        return run

    return {p: eager({"fp32": torch.float32, "bf16": torch.bfloat16}[p]) for p in precisions if p != "int8"}


def median_time(run, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def time_case(tenon, engine, peers, feed, lengths, folder, args):
    """{side: median of each round}, Tenon first, and the last report of `tenon bench`."""
    runs = 3 if sum(lengths) > 500 else 7
    lengths_file = folder / "lengths.txt"
    lengths_file.write_text("\n".join(map(str, lengths)))
    times = {name: [] for name in ("tenon", *peers)}
    for _ in range(args.rounds):
        for name, run_peer in peers.items():
            run_peer(feed)
            times[name].append(median_time(lambda: run_peer(feed), runs))
        point = run(tenon, "bench", str(engine), "--batch", str(len(lengths)), "--lengths", f"list:{lengths_file}",
                    "--iterations", str(runs), "--warmup", "1", "--threads", str(args.threads))[0]
        times["tenon"].append(point["median_s"])
    return times, point


def measured_peak(program, precision, threads):
    """Instruction set and 1e9 operations a second of multiply-adds on registers, or nothing."""
    if not program:
        return None, None
    kind = "f32" if precision == "fp32" else precision
    command = [program, str(threads), "best", kind, "peak"]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    isa = line.split(", ")[1]
    if kind == "int8" and isa in ("avx2", "avx512"):  # as builds there have it
        return measured_peak(program, "int8_quads", threads)
    return isa, float(line.split("peak ")[1].split()[0])


def operations(lengths, layers, hidden=768):
    """Of the encoder, on tokens alone: what padding adds counts for nobody."""
    return sum(layers * (24 * hidden * hidden * n + 4 * n * n * hidden) for n in lengths)


def chart(rows, title):
    """Bars of each row's times, those of Tenon first, as SVG."""
    colours = {"tenon": "#1b6ca8", "onnxruntime": "#d08c2f", "openvino": "#7a9e3a", "pytorch": "#b5533c"}
    bar, gap, left, width = 16, 14, 190, 560
    body, y = [], 40
    for name, times in rows:
        longest = max(times.values())
        body.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{name}</text>')
        for side, t in times.items():
            length = max(1, t / longest * (width - 130))
            body.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 3}" fill="{colours[side]}"/>'
                        f'<text x="{left + length + 5:.1f}" y="{y + 11}">{side} {1e3 * t:.1f} ms</text>')
            y += bar
        y += gap
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width}" height="{y}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="10" y="20" font-size="14">{title}</text>{"".join(body)}</svg>\n')


def spread(times):
    return f"{1e3 * statistics.median(times):.2f} ({1e3 * min(times):.2f}-{1e3 * max(times):.2f})"


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
    parser.add_argument("--peers", default="onnxruntime,openvino,pytorch")
    parser.add_argument("--gemm-bench")
    parser.add_argument("--out")
    add_isa_argument(parser)
    args = parser.parse_args()
    hide_above(args.isa, args.tenon)

    precisions = args.precisions.split(",")
    cases = {case: [int(case.split("x")[1])] * int(case.split("x")[0]) for case in args.cases.split(",")}
    if args.squad:
        cases["32 SQuAD rows"] = squad_lengths(args.squad, args.vocab, 32)
    load = os.getloadavg()[0]
    lines, bars = [], []

    def say(line):
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (model, encoder), engine = export(folder, args.layers), folder / "bert_base.tenon"
        # ONNX Runtime first: it makes the int8 file, and its fp32 is what cosines are taken to.
        of_peers = sorted({peer_precision(p) for p in precisions})
        found = {"onnxruntime": onnxruntime_peers(model, of_peers, args.threads)}
        exact = found["onnxruntime"]["fp32"]
        if "openvino" in args.peers:
            found["openvino"] = openvino_peers(model, of_peers, args.threads)
        if "pytorch" in args.peers:
            found["pytorch"] = pytorch_peers(encoder, of_peers, args.threads)
        wanted = args.peers.split(",")
        rng = np.random.default_rng(0)
        feed_of = {case: feeds(lengths, rng) for case, lengths in cases.items()}
        isa = args.isa or "cpu"
        for precision in precisions:
            flags = [] if precision in ("fp32", *QUANTIZED) else [f"--{precision}"]
            source = model.with_name(QUANTIZED.get(precision, model.name))
            built = run(args.tenon, "build", str(source), "-o", str(engine), *flags)
            again = folder / "again.tenon"
            run(args.tenon, "build", str(source), "-o", str(again), *flags)
            weights = built["weight_bytes"]
            say(f"{precision}: build {built['seconds']:.2f} s, file {os.path.getsize(engine) / weights:.4f} x weights "
                f"({weights / 2**20:.1f} MiB), peak resident {built['peak_resident_bytes'] / weights:.2f} x, "
                f"identical bytes: {engine.read_bytes() == again.read_bytes()}")
            same = peer_precision(precision)
            peers = {n: by[same] for n, by in found.items() if n in wanted and same in by}
            say("")
            heads = " | ".join(f"{n}, ms | share" for n in peers)
            say(f"| case | tenon, ms | of peak | {heads} | max abs | cosine | memory, x weights |")
            say("|---" * (6 + 2 * len(peers)) + "|")
            for case, lengths in cases.items():
                feed = feed_of[case]
                found_isa, peak = measured_peak(args.gemm_bench, "int8" if precision in QUANTIZED else same, args.threads)
                isa = found_isa or isa
                times, point = time_case(args.tenon, engine, peers, feed, lengths, folder, args)
                np.savez(folder / "in.npz", **feed)
                files = ["--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")]
                subprocess.run([args.tenon, "run", str(engine), *files], check=True)
                mask = feed["attention_mask"][:, :, None]
                expected = exact(feed) * mask
                actual = np.load(folder / "out.npz")["last_hidden_state"] * mask
                medians = {n: statistics.median(t) for n, t in times.items()}
                bars.append((f"{precision} {case}", medians))
                reached = operations(lengths, args.layers) / medians["tenon"] * 1e-9
                share_of_peak = f"{100 * reached / peak:.0f} % of {peak:.0f} G/s" if peak else "-"
                cells = [case, spread(times["tenon"]), share_of_peak]
                for n in peers:
                    shares = [ours / theirs for ours, theirs in zip(times["tenon"], times[n])]
                    cells += [spread(times[n]), f"{statistics.median(shares):.3f}"]
                cells += [f"{np.abs(actual - expected).max():.1e}", f"{cosine(actual, expected):.6f}",
                          f"{point['peak_resident_bytes'] / weights:.2f}"]
                say("| " + " | ".join(cells) + " |")
            say("")
    masked = ", what lies above masked" if args.isa else ""
    title = f"BERT-base, {args.layers} layers, {args.threads} threads, {isa}{masked}"
    say(f"{title}; load of the machine before: {load:.1f}, after: {os.getloadavg()[0]:.1f} (ours included)")
    if args.out:
        out = pathlib.Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        stem = f"bert_base_{isa}_{'masked_' if args.isa else ''}{args.threads}_threads"
        (out / f"{stem}.md").write_text("\n".join(lines) + "\n")
        (out / f"{stem}.svg").write_text(chart(bars, title))


if __name__ == "__main__":
    main()
