"""What all groups of cases share: tiny random weights, recorded shapes, export, check and record.

A case is one ONNX file with one .safetensors file of recorded inputs and outputs next to it. The
outputs are those of ONNX Runtime on the exported file; before they are written they are compared with
PyTorch on *every* recorded shape, which also catches an exporter that baked the traced shape in.
"""

import dataclasses
import json
import logging
import pathlib
import re
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
ONNX_DIR = ROOT / "onnx"
TOLERANCE = 1e-4
TRACED_SHAPE = (2, 9)

# (batch, seq, mask pattern). Left padding hides the first token, so "first" outputs (see Output.rows)
# of those rows are read from a padding position.
DYNAMIC_SHAPES = [(1, 1, "ones"), (1, 7, "ones"), (3, 13, "right"), (2, 32, "left"), (3, 13, "holes")]
STATIC_SHAPES = [(*TRACED_SHAPE, "ones"), (*TRACED_SHAPE, "right"), (*TRACED_SHAPE, "holes")]

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
for noisy in ("torch.onnx", "torch.export", "transformers", "onnxscript", "onnx_ir"):
    logging.getLogger(noisy).setLevel(logging.ERROR)


@dataclasses.dataclass
class Output:
    """An output's name and which of its rows are comparable.

    rows: "tokens" = [batch, seq, ...], compare where valid; "first" = per sequence, read from position 0,
    compare where position 0 is valid; "sequence" = per sequence, compare always.
    """

    name: str
    rows: str


@dataclasses.dataclass
class Case:
    name: str
    model: torch.nn.Module
    outputs: list
    # (batch, seq, valid [batch, seq] bool, generator) -> {input name: tensor}, in the model's order
    make_inputs: object
    architecture: str
    head: str = "encoder"
    exporter: str = "torchscript"
    opset: int = 17
    attention: str = "eager"
    axes: str = "dynamic"
    folding: bool = True
    packable: object = True
    reason: str = ""
    shapes: list = None
    expected: dict = None
    layers: int = 2
    notes: str = ""
    export_options: dict = dataclasses.field(default_factory=dict)
    # dimension names per input when they are not simply [batch, seq]
    dims: dict = dataclasses.field(default_factory=dict)
    keep_metadata: bool = False
    # "pytorch" where ONNX Runtime cannot run the graph
    recorded_by: str = "onnxruntime"
    external_data: bool = False
    tolerance: float = TOLERANCE
    # what the file's own roundings to 8 bits may make of small differences: of PyTorch's outputs, and of 16-bit floats
    rounding: float = 0
    # a last rewrite of the exported ModelProto (local functions, other initializer encodings, ...)
    rewrite: object = None

    def write(self, index):
        return write_case(self, index)


def widen(model, seed=0, std=0.2):
    """Replaces the weights by ones large enough that a wrong mask, scale or bias shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    seen = set()
    for name, parameter in model.named_parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        noise = torch.randn(parameter.shape, generator=generator)
        is_gain = re.search(r"(layer_?norm|ln|norm)\w*\.(weight|gamma)$", name, re.IGNORECASE)
        parameter.data = 1 + 0.3 * noise if is_gain else std * noise
    return model.eval()


def make_mask(batch, seq, pattern, generator):
    """A [batch, seq] bool mask with at least one valid position per row."""
    valid = torch.ones(batch, seq, dtype=torch.bool)
    # Lengths of the rows: the full one, then ever shorter ones down to a single token.
    lengths = [max(1, seq - row * (seq - 1) // max(1, batch - 1) - (pattern == "left" and 5)) for row in range(batch)]
    for row, length in enumerate(lengths):
        if pattern == "right":
            valid[row, length:] = False
        elif pattern == "left":
            valid[row, : seq - length] = False
        elif pattern == "holes":
            valid[row] = torch.rand(seq, generator=generator) < 0.6
            valid[row, 0] = True
    return valid


def random_ids(valid, pattern, pad_id, generator, vocab=120):
    """Token ids. Padding carries the pad id, but holes keep ordinary ids: a mask is not always ids != pad."""
    ids = torch.randint(5, vocab, valid.shape, generator=generator)
    return ids if pattern == "holes" else ids.masked_fill(~valid, pad_id)


def make_input_maker(names, pad_id=0, type_vocab=2, max_position=40, first_position=0, mask_dtype=torch.int64):
    """The inputs of a Hugging Face style model, for any subset of its usual four."""

    def make(batch, seq, valid, pattern, generator):
        ids = random_ids(valid, pattern, pad_id, generator)
        # Positions that are not the default 0, 1, 2, ...: ignoring the input must show.
        positions = torch.arange(seq) + first_position + torch.randint(0, max_position - seq, (batch, 1), generator=generator)
        made = {
            "input_ids": ids,
            "attention_mask": valid.to(mask_dtype),
            "token_type_ids": torch.randint(0, type_vocab, ids.shape, generator=generator),
            "position_ids": positions,
        }
        return {name: made[name] for name in names}

    return make


def count_blocks(model, inputs, layers):
    """Counts normalizations and GELUs as PyTorch runs them, independently of how they are spelled in ONNX."""
    counts = {"attention": layers, "layer_norm": 0, "gelu": 0, "qkv": layers}

    class Counter(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            name = getattr(func, "__name__", "")
            if name in ("layer_norm", "gelu"):
                counts[name] += 1
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Counter():
        model(**inputs)
    return counts


class Positional(torch.nn.Module):
    """The TorchScript exporter traces with positional arguments, in an order that a model may not have."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values):
        return self.model(**dict(zip(self.names, values)))


def export(case, path):
    """Exports with the case's exporter, with the inputs' own names and in the case's order."""
    generator = torch.Generator().manual_seed(1)
    valid = make_mask(*TRACED_SHAPE, "right", generator)
    inputs = case.make_inputs(*TRACED_SHAPE, valid, "right", generator)
    dims = {name: case.dims.get(name, ["batch", "seq"]) for name in inputs}
    axes = {name: dict(enumerate(d)) for name, d in dims.items()}
    axes = {name: {i: d for i, d in a.items() if isinstance(d, str)} for name, a in axes.items()}
    options = dict(case.export_options)
    model, arguments, keywords = case.model.eval(), (), inputs
    if case.exporter == "dynamo":
        options.update(dynamo=True, external_data=False, optimize=case.folding, verbose=False)
        if case.axes == "dynamic":
            options["dynamic_shapes"] = axes
    else:
        model, arguments, keywords = Positional(model, list(inputs)).eval(), tuple(inputs.values()), None
        options.update(dynamo=False, do_constant_folding=case.folding)
        if case.axes == "dynamic":
            options["dynamic_axes"] = axes
    with torch.no_grad():
        torch.onnx.export(
            model,
            arguments,
            str(path),
            kwargs=keywords,
            opset_version=case.opset,
            input_names=list(inputs),
            output_names=[output.name for output in case.outputs],
            **options,
        )


def clean_metadata(proto, keep):
    """The dynamo exporter records stack traces: three times the size of the model, with local paths in it."""
    nodes = [node for function in proto.functions for node in function.node] + list(proto.graph.node)
    holders = nodes + list(proto.graph.value_info) + list(proto.graph.initializer) + list(proto.functions)
    for holder in holders + [proto.graph, *proto.graph.input, *proto.graph.output]:
        if not keep:
            del holder.metadata_props[:]
        for prop in holder.metadata_props:
            prop.value = re.sub(r'File "[^"]*?([^/"]+/[^/"]+)"', r'File "\1"', prop.value)


def to_numpy(tensor):
    return tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else tensor


def flatten(result):
    values = result.to_tuple() if hasattr(result, "to_tuple") else result
    return [values] if isinstance(values, torch.Tensor) else [v for v in values if isinstance(v, torch.Tensor)]


def shapes_of(case):
    return case.shapes or (DYNAMIC_SHAPES if case.axes == "dynamic" else STATIC_SHAPES)


def difference(output, value, reference, valid):
    """Over the comparable rows: those of padding may be ill-conditioned (-10000 added to all their scores)."""
    comparable = {"tokens": valid, "first": valid[:, 0], "sequence": slice(None)}[output.rows]
    return float(np.abs(value - reference)[comparable].max(initial=0))


def record(case, path):
    """Runs ONNX Runtime on every shape, compares with PyTorch, returns the tensors to store and the error."""
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    known = {item.name for item in session.get_inputs()}
    tensors, worst = {}, 0.0
    for index, (batch, seq, pattern) in enumerate(shapes_of(case)):
        generator = torch.Generator().manual_seed(100 + index)
        valid = make_mask(batch, seq, pattern, generator)
        inputs = case.make_inputs(batch, seq, valid, pattern, generator)
        # An exporter may drop an input that the graph does not use.
        feeds = {name: to_numpy(tensor) for name, tensor in inputs.items() if name in known}
        with torch.no_grad():
            want = flatten(case.model(**inputs))
        got = session.run(None, feeds) if case.recorded_by == "onnxruntime" else list(map(to_numpy, want))
        if len(got) != len(case.outputs) or len(want) < len(got):
            raise ValueError(f"{case.name}: {len(got)} outputs, PyTorch has {len(want)}, case has {len(case.outputs)}")
        tensors[f"shape{index}/valid"] = to_numpy(valid)
        for name, value in feeds.items():
            tensors[f"shape{index}/in/{name}"] = value
        for output, value, reference in zip(case.outputs, got, want):
            if not np.isfinite(value).all() or value.shape != tuple(reference.shape):
                raise ValueError(f"{case.name}: bad {output.name} at shape {index}")
            worst = max(worst, difference(output, value, to_numpy(reference), to_numpy(valid)))
            tensors[f"shape{index}/out/{output.name}"] = value
    if worst > max(case.tolerance, case.rounding):
        raise ValueError(f"{case.name}: ONNX Runtime and PyTorch differ by {worst}")
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}, worst


def check_packing(case):
    """Cuts the padding off right-padded rows and runs them alone: packable models must not notice.

    Refused ones must, unless only what a caller *could* pass makes them so.
    """
    batch, seq = 3, 13
    if case.packable is None or case.axes == "static":
        return
    generator = torch.Generator().manual_seed(5)
    valid = make_mask(batch, seq, "right", generator)
    inputs = case.make_inputs(batch, seq, valid, "right", generator)
    worst = 0.0
    with torch.no_grad():
        padded = flatten(case.model(**inputs))
        for row, length in enumerate(valid.sum(1).tolist()):
            alone = {}
            for name, tensor in inputs.items():
                cut = [slice(length) if dim == "seq" else slice(None) for dim in case.dims.get(name, ["batch", "seq"])[1:]]
                alone[name] = tensor[(slice(row, row + 1), *cut)]
            for output, whole, own in zip(case.outputs, padded, flatten(case.model(**alone))):
                part = whole[row, :length] if output.rows == "tokens" else whole[row]
                worst = max(worst, (part - own[0]).abs().max().item())
    if case.packable and worst > TOLERANCE or not case.packable and "padding reach" in case.reason and worst < 0.01:
        raise ValueError(f"{case.name}: packable is {case.packable}, but cutting padding off changes {worst}")


def session_options():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def write_case(case, index):
    """Exports, checks, records; adds the entry to the index. Raises what the exporter raised."""
    ONNX_DIR.mkdir(exist_ok=True)
    path = ONNX_DIR / f"{case.name}.onnx"
    try:
        export(case, path)
        proto = onnx.load(str(path))
        if case.rewrite:
            proto = case.rewrite(proto) or proto
        clean_metadata(proto, case.keep_metadata)
        save_model(proto, path, case.external_data)
        tensors, worst = record(case, path)
        check_packing(case)
    except BaseException:
        for left in ONNX_DIR.glob(f"{case.name}.onnx*"):
            left.unlink()
        raise
    save_tensors(tensors, path.with_suffix(".safetensors"))
    names = {item.name for item in proto.graph.input}
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    generator = torch.Generator().manual_seed(1)
    valid = make_mask(*TRACED_SHAPE, "ones", generator)
    counted = count_blocks(case.model, case.make_inputs(*TRACED_SHAPE, valid, "ones", generator), case.layers)
    entry = {
        "name": case.name,
        "kind": "onnx",
        "file": f"onnx/{case.name}.onnx",
        "recorded": f"onnx/{case.name}.safetensors",
        "architecture": case.architecture,
        "head": case.head,
        "exporter": case.exporter,
        "opset": opsets.get("", 0),
        "attention_implementation": case.attention,
        "has_attention_mask": "attention_mask" in names,
        "has_token_type_ids": bool(names & {"token_type_ids", "segment_ids"}),
        "has_position_ids": "position_ids" in names,
        "inputs": [item.name for item in proto.graph.input if item.name not in {i.name for i in proto.graph.initializer}],
        "outputs": [dataclasses.asdict(output) for output in case.outputs],
        "axes": case.axes,
        "constant_folding": case.folding,
        "layers": case.layers,
        "expected": {**counted, **(case.expected or {})},
        "packable": case.packable,
        "packable_reason": case.reason,
        "shapes": [{"batch": b, "seq": s, "mask": m} for b, s, m in shapes_of(case)],
        "recorded_by": case.recorded_by,
        "tolerance": case.tolerance,
        "checked_to": float(f"{worst:.1e}"),
        "notes": case.notes,
    }
    if case.rounding:
        entry["rounding"] = case.rounding
    index[case.name] = entry
    return entry


def save_model(proto, path, external=False):
    if not external:
        onnx.save(proto, str(path))
        return
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    onnx.save(proto, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name, size_threshold=256)


def save_tensors(tensors, path):
    save_file(tensors, str(path))
    path.chmod(0o644)  # the library leaves it readable by its owner only


def load_index():
    path = ROOT / "index.json"
    if not path.exists():
        return {}, {}
    stored = json.loads(path.read_text())
    return {entry["name"]: entry for entry in stored["cases"]}, stored["versions"]


def save_index(index, versions, order=None):
    """One case per line: readable in a diff, and still plain JSON for the C++ reader."""
    names = sorted(index, key=lambda name: (order or {}).get(name, 10**6))
    lines = ",\n".join("  " + json.dumps(index[name]) for name in names)
    head = json.dumps(versions)
    (ROOT / "index.json").write_text(f'{{\n "versions": {head},\n "cases": [\n{lines}\n ]\n}}\n')
