#!/usr/bin/env python3
"""The study matrix: models x lengths x batches x precisions x frameworks; latency, throughput, memory, one report.

usage: study.py TENON --out FOLDER [--device cpu|cuda] [--models bert-base,bert-large,roberta-base,distilbert]
                [--lengths 128,256,512] [--batches 1,4,16,32,64] [--precisions fp32,bf16,int8 | fp16]
                [--frameworks tenon,pytorch,onnxruntime,openvino] [--threads N] [--seconds 5] [--limit 300]
                [--layers N] [--retry] [--report]

Each point runs in a process of its own for --seconds after warming up, and is stopped after --limit seconds. Its result
is a line of FOLDER/points.jsonl as soon as it is there: the same command again goes on where it was stopped, and other
options add to the same study. --retry runs again what failed; --report runs nothing. Then FOLDER/report.md holds, per
model, p50, p95, p99, throughput, peak memory and the speed-up over PyTorch (of the same precision, else its fp32), and
names the batch that saturates: the least with 95 % of the best throughput. FOLDER/*.svg draw throughput over the batch.

Weights are random and rows at full length; --layers cuts the models short, to try the command out. Peak memory is what
the process had resident at most; with --device cuda, what nvidia-smi saw in use on the GPU beyond what was before, the
driver's context included. There results stay on the GPU; ids and mask lie there too, with Tenon on the host. Needs
torch and transformers, onnx for the exports, and whichever peers are named.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time

MODELS = {  # class, hidden size, layers, heads; RoBERTa's positions begin behind its padding id
    "bert-base": ("Bert", 768, 12, 12),
    "bert-large": ("Bert", 1024, 24, 16),
    "roberta-base": ("Roberta", 768, 12, 12),
    "distilbert": ("DistilBert", 768, 6, 12),
}
PRECISIONS = {"cpu": ["fp32", "bf16", "int8"], "cuda": ["fp32", "fp16", "bf16"]}
RUNS = {  # what each framework has
    "tenon": {"cpu": {"fp32", "bf16", "int8"}, "cuda": {"fp32", "tf32", "fp16", "bf16"}},
    "pytorch": {"cpu": {"fp32", "bf16"}, "cuda": {"fp32", "fp16", "bf16"}},
    "onnxruntime": {"cpu": {"fp32", "int8"}, "cuda": {"fp32", "fp16"}},
    "openvino": {"cpu": {"fp32", "bf16", "int8"}, "cuda": set()},
}
KEY = ["device", "model", "length", "batch", "precision", "framework", "threads", "layers"]
SATURATED = 0.95


def key_of(point):
    return tuple(point.get(k) for k in KEY)


# --- one point, in a process of its own -----------------------------------------------------------------------------


def make_model(name, layers):
    import torch
    import transformers

    family, hidden, full, heads = MODELS[name]
    layers = layers or full
    if family == "DistilBert":
        config = transformers.DistilBertConfig(dim=hidden, n_layers=layers, n_heads=heads, hidden_dim=4 * hidden)
    else:
        config = getattr(transformers, family + "Config")(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
            max_position_embeddings=514 if family == "Roberta" else 512)
    torch.manual_seed(0)
    keep = {} if family == "DistilBert" else {"add_pooling_layer": False}
    inner = getattr(transformers, family + "Model")(config, **keep).eval()

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, ids, mask):
            return self.inner(input_ids=ids, attention_mask=mask).last_hidden_state

    return Encoder().eval()


def export(point, folder):
    """The model as ONNX, made once; int8 for the peers by ONNX Runtime's dynamic quantisation."""
    path = folder / f"{point['model']}-{point['layers'] or 'all'}.onnx"
    if not path.exists():
        import torch

        ids = torch.randint(5, 30000, (1, 16))
        made = path.with_suffix(".part")
        axes = dict.fromkeys(["input_ids", "attention_mask", "last_hidden_state"], {0: "batch", 1: "seq"})
        torch.onnx.export(make_model(point["model"], point["layers"]), (ids, torch.ones_like(ids)), made, dynamo=False,
                          opset_version=17, input_names=["input_ids", "attention_mask"],
                          output_names=["last_hidden_state"], dynamic_axes=axes)
        made.rename(path)
    if point["framework"] == "onnxruntime" and point["precision"] == "fp16":
        return optimised(point, path)
    if point["framework"] in ("tenon", "pytorch") or point["precision"] != "int8":
        return path
    quantised = path.with_suffix(".int8.onnx")
    if not quantised.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        made = quantised.with_suffix(".part")
        quantize_dynamic(str(path), str(made), weight_type=QuantType.QInt8)
        made.rename(quantised)
    return quantised


def optimised(point, path):
    """In 16 bits, by ONNX Runtime's own optimiser of Transformers."""
    made = path.with_suffix(".fp16.onnx")
    if not made.exists():
        from onnxruntime.transformers.optimizer import optimize_model

        _, hidden, _, heads = MODELS[point["model"]]
        model = optimize_model(str(path), "bert", num_heads=heads, hidden_size=hidden, use_gpu=True)
        model.convert_float_to_float16(keep_io_types=True)
        part = made.with_suffix(".part")
        model.save_model_to_file(str(part))
        part.rename(made)
    return made


def ask_gpu(what):
    """The first GPU's answer; None where there is no nvidia-smi."""
    query = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


class DeviceMemory:
    """Watches the GPU while a point runs, alone on it. `most`: bytes beyond those before; None: not known."""

    def __enter__(self):
        self.before, self.most, self.stop = self.used(), None, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def used(self):
        answer = ask_gpu("memory.used")
        return int(answer) << 20 if answer and answer.isdigit() else None

    def watch(self):
        while self.before is not None and not self.stop.wait(0.1):
            now = self.used()
            if now is not None:
                self.most = max(self.most or 0, now - self.before)


def peak_memory():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def rank(times, percent):
    """Nearest rank, as `tenon bench` has it."""
    return sorted(times)[max(0, min(len(times), -(-len(times) * percent // 100)) - 1)]


def time_peer(run, seconds):
    for _ in range(3):
        run()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def peer(point, path, seconds):
    """Times of runs."""
    import numpy as np

    rng = np.random.default_rng(0)
    ids = rng.integers(5, 30000, (point["batch"], point["length"]))
    mask = np.ones_like(ids)
    on_gpu = point["device"] == "cuda"
    if point["framework"] == "pytorch":
        import torch

        if point["threads"]:
            torch.set_num_threads(point["threads"])
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[point["precision"]]
        model = make_model(point["model"], point["layers"]).to(point["device"], dtype)
        tensors = [torch.from_numpy(t).to(point["device"]) for t in (ids, mask)]

        @torch.inference_mode()
        def run():
            out = model(*tensors)
            if on_gpu:
                torch.cuda.synchronize()
            return out

        return time_peer(run, seconds)
    feed = {"input_ids": ids, "attention_mask": mask}
    if point["framework"] == "onnxruntime":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = point["threads"] or 0
        provider = "CUDAExecutionProvider" if on_gpu else "CPUExecutionProvider"
        session = ort.InferenceSession(str(path), options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise RuntimeError(f"ONNX Runtime has no {provider} here")
        if not on_gpu:
            return time_peer(lambda: session.run(None, feed), seconds)
        binding = session.io_binding()
        for name, values in feed.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")

        def run_bound():
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return time_peer(run_bound, seconds)
    import openvino

    core = openvino.Core()
    if point["precision"] == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("this processor has no products of bf16; OpenVINO would imitate them")
    hint = "bf16" if point["precision"] == "bf16" else "f32"
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    if point["threads"]:
        settings["INFERENCE_NUM_THREADS"] = point["threads"]
    request = core.compile_model(str(path), "CPU", settings).create_infer_request()
    return time_peer(lambda: request.infer(feed), seconds)


def engine_of(point, path, folder):
    return folder / f"{path.stem}-{point['precision']}-{point['device']}.tenon"


def prepare(tenon, point, folder):
    path = export(point, folder)
    if point["framework"] == "tenon":
        build_engine(tenon, point, path, engine_of(point, path, folder))
    return {}


def build_engine(tenon, point, path, engine):
    newest = max(os.path.getmtime(tenon), os.path.getmtime(path))
    if not engine.exists() or os.path.getmtime(engine) < newest:
        precision = [] if point["precision"] == "fp32" else ["--" + point["precision"]]
        made = engine.with_suffix(".part")
        build = [tenon, "build", path, "-o", made, "--target", point["device"], "--quiet", *precision]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        made.rename(engine)


def tenon_point(tenon, point, engine, seconds):
    command = [tenon, "bench", engine, "--batch", point["batch"], "--seq", point["length"], "--duration", seconds]
    command += ["--json"]
    if point["threads"]:
        command += ["--threads", point["threads"]]
    if point["device"] == "cuda":
        command += ["--target", "cuda", "--outputs-on-device"]
    done = subprocess.run([str(a) for a in command], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)[0]
    return {"runs": found["runs"], "p50": found["median_s"], "p95": found["p95_s"], "p99": found["p99_s"],
            "throughput": found["texts_per_s"], "memory": found["peak_resident_bytes"]}


def run_point(tenon, point, folder, seconds):
    path = export(point, folder)
    if point["device"] == "cuda":
        with DeviceMemory() as device:
            found = time_point(tenon, point, path, folder, seconds)
        return found if device.most is None else {**found, "memory": device.most}
    return time_point(tenon, point, path, folder, seconds)


def time_point(tenon, point, path, folder, seconds):
    if point["framework"] == "tenon":
        return tenon_point(tenon, point, engine_of(point, path, folder), seconds)
    times = peer(point, path, seconds)
    return {"runs": len(times), "p50": rank(times, 50), "p95": rank(times, 95), "p99": rank(times, 99),
            "throughput": point["batch"] * len(times) / sum(times), "memory": peak_memory()}


# --- the matrix ------------------------------------------------------------------------------------------------------


def read_points(path):
    """By key; of two lines with one key the later one counts. A line that was not finished is skipped."""
    points = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                point = json.loads(line)
                points[key_of(point)] = point
            except (json.JSONDecodeError, AttributeError):
                continue
    return points


def wanted(args):
    for model in args.models:
        for length in args.lengths:
            for precision in args.precisions:
                for framework in args.frameworks:
                    if precision not in RUNS[framework][args.device]:
                        continue
                    for batch in args.batches:
                        yield {"device": args.device, "model": model, "length": length, "batch": batch,
                               "precision": precision, "framework": framework, "threads": args.threads,
                               "layers": args.layers}


def measure(args, point):
    """The files are made first, by a process of their own, whose memory and time are not the point's."""
    done = in_process(args, ["--prepare"], point)
    return done if "error" in done else in_process(args, [], point)


def in_process(args, options, point):
    command = [sys.executable, __file__, args.tenon, "--out", str(args.out), "--seconds", str(args.seconds), *options]
    process = subprocess.Popen([*command, "--point", json.dumps(point)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=args.limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # the point's own process group: with what it started
        process.communicate()
        return {"error": f"took more than {args.limit:g} s"}
    if process.returncode != 0:
        return {"error": (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1][:300]}
    return json.loads(out.splitlines()[-1])


# --- the report ------------------------------------------------------------------------------------------------------


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def baseline(points, point):
    """PyTorch at the same place: of the same precision, else its fp32."""
    for precision in (point["precision"], "fp32"):
        found = points.get(key_of({**point, "framework": "pytorch", "precision": precision}))
        if found and "p50" in found:
            return found
    return None


def saturation(series):
    """The least batch with SATURATED of the best throughput; None where nothing ran."""
    ran = sorted((p["batch"], p["throughput"]) for p in series if "p50" in p)
    best = max((t for _, t in ran), default=0)
    return next((batch for batch, t in ran if t >= SATURATED * best), None)


COLOURS = {"tenon": "#c0392b", "pytorch": "#2c6fad", "onnxruntime": "#3f8f4f", "openvino": "#8a5a9e"}
DASHES = {"fp32": "", "fp16": "6 3", "bf16": "6 3", "int8": "2 3", "tf32": "9 2 2 2"}


def chart(title, series):
    """Throughput over the batch, both on logarithmic scales, as SVG."""
    import math

    width, height, left, bottom, right = 640, 360, 70, 45, 170
    ran = {name: sorted((p["batch"], p["throughput"]) for p in points if "p50" in p) for name, points in series.items()}
    ran = {name: points for name, points in ran.items() if points}
    if not ran:
        return None
    batches = sorted({b for points in ran.values() for b, _ in points})
    rates = [r for points in ran.values() for _, r in points]
    low, high = min(rates) / 1.2, max(rates) * 1.2
    span = math.log(batches[-1] / batches[0]) or 1
    x = lambda b: left + (width - left - right) * math.log(b / batches[0]) / span
    y = lambda r: 30 + (height - 30 - bottom) * (1 - math.log(r / low) / math.log(high / low))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           'font-size="11">', f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="18" font-size="13">{title}: texts a second over the batch</text>']
    for b in batches:
        out.append(f'<text x="{x(b):.1f}" y="{height - bottom + 16}" text-anchor="middle">{b}</text>')
    for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for step in (1, 2, 5):
            if low <= step * 10.0**k <= high:
                at = y(step * 10.0**k)
                out.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
                           f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{step * 10.0**k:g}</text>')
    for place, ((framework, precision), points) in enumerate(sorted(ran.items())):
        style = f'stroke="{COLOURS[framework]}" stroke-dasharray="{DASHES[precision]}" fill="none" stroke-width="1.8"'
        line = " ".join(f"{x(b):.1f},{y(r):.1f}" for b, r in points)
        out.append(f'<polyline {style} points="{line}"/>')
        out += [f'<circle cx="{x(b):.1f}" cy="{y(r):.1f}" r="2.5" fill="{COLOURS[framework]}"/>' for b, r in points]
        at = 40 + 16 * place
        out.append(f'<line {style} x1="{width - right + 12}" x2="{width - right + 36}" y1="{at}" y2="{at}"/>'
                   f'<text x="{width - right + 42}" y="{at + 4}">{framework} {precision}</text>')
    return "\n".join(out + ["</svg>\n"])


def report(points, out):
    gpu = ask_gpu("name") if any(p["device"] == "cuda" for p in points.values()) else None
    lines = ["# Study", "", f"Processor: {processor()}{'; GPU: ' + gpu if gpu else ''}. Full-length rows, random "
             "weights; times in ms, throughput in texts a second, memory in MiB. \"saturates\": the least batch with 95 % of the best."]
    groups = {}
    for p in points.values():
        groups.setdefault((p["device"], p["model"], p["length"], p["threads"], p["layers"]), []).append(p)
    for (device, model, length, threads, layers), members in sorted(groups.items(), key=str):
        name = f"{model}, length {length}, {device}" + (f", {threads} threads" if threads else "")
        name += f", {layers} layers" if layers else ""
        series = {}
        for p in members:
            series.setdefault((p["framework"], p["precision"]), []).append(p)
        picture = chart(name, series)
        lines += ["", f"## {name}", ""]
        if picture:
            file = "-".join(str(v) for v in (device, model, length, threads or "all", layers or "full")) + ".svg"
            (out / file).write_text(picture)
            lines += [f"![{name}]({file})", ""]
        lines += ["| framework | precision | batch | p50 | p95 | p99 | texts/s | memory | PyTorch's time / its |",
                  "|---|---|---|---|---|---|---|---|---|"]
        for (framework, precision), row in sorted(series.items()):
            full = saturation(row)
            for p in sorted(row, key=lambda p: p["batch"]):
                head = f"| {framework} | {precision} | {p['batch']}{' saturates' if p['batch'] == full else ''} "
                if "p50" not in p:
                    lines.append(head + f"| {p['error'].replace('|', '/')} | | | | | |")
                    continue
                base = baseline(points, p)
                speed = f"{base['p50'] / p['p50']:.2f}" if base else ""
                lines.append(head + f"| {1e3 * p['p50']:.2f} | {1e3 * p['p95']:.2f} | {1e3 * p['p99']:.2f} "
                             f"| {p['throughput']:.1f} | {p['memory'] / 2**20:.0f} | {speed} |")
    (out / "report.md").write_text("\n".join(lines) + "\n")


def main():
    names = lambda text: text.split(",")
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", type=names, default=list(MODELS))
    parser.add_argument("--lengths", type=numbers, default=[128, 256, 512])
    parser.add_argument("--batches", type=numbers, default=[1, 4, 16, 32, 64])
    parser.add_argument("--precisions", type=names)
    parser.add_argument("--frameworks", type=names, default=["tenon", "pytorch", "onnxruntime", "openvino"])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.precisions = args.precisions or PRECISIONS[args.device]
    for given, known, what in ((args.models, MODELS, "model"), (args.frameworks, RUNS, "framework"),
                               (args.precisions, DASHES, "precision")):
        for name in given:
            if name not in known:
                parser.error(f"there is no {what} {name}: {', '.join(known)}")
    folder = args.out / "models"
    folder.mkdir(parents=True, exist_ok=True)
    if args.point:
        point = json.loads(args.point)
        print(json.dumps(prepare(args.tenon, point, folder) if args.prepare
                         else run_point(args.tenon, point, folder, args.seconds)))
        return
    file = args.out / "points.jsonl"
    points = read_points(file)
    if file.exists() and not file.read_text().endswith("\n"):
        with open(file, "a") as lines:
            lines.write("\n")
    todo = [] if args.report else list(wanted(args))
    for i, point in enumerate(todo):
        known = points.get(key_of(point))
        if known and ("error" not in known or not args.retry):
            continue
        result = {**point, **measure(args, point)}
        points[key_of(point)] = result
        with open(file, "a") as lines:
            lines.write(json.dumps(result) + "\n")
        outcome = result.get("error") or f"{1e3 * result['p50']:.2f} ms, {result['throughput']:.1f} texts/s"
        print(f"{i + 1}/{len(todo)} {' '.join(str(point[k]) for k in KEY[1:6])}: {outcome}", flush=True)
    report(points, args.out)
    print(args.out / "report.md")


if __name__ == "__main__":
    main()
