"""ONNX Runtime's CUDA provider as a peer: a question-answering BERT, exported, fused by ONNX Runtime's own transformer
optimizer, in fp16, inputs and outputs bound. Needs onnx and onnxruntime-gpu."""
import pathlib
import statistics
import time

import numpy as np
import onnxruntime
import torch
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.convert_to_packing_mode import PackingMode

INPUTS, OUTPUTS = ("input_ids", "attention_mask", "token_type_ids"), ("start_logits", "end_logits")
# What must have fused, per layer: otherwise the comparison would be with something weaker than it claims.
FUSED = {"Attention": 1, "BiasGelu": 1, "SkipLayerNormalization": 2}


class Exported(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask, types):
        out = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        return out.start_logits, out.end_logits


def export(model, folder):
    """Writes fused.onnx and packed.onnx (its packing mode) of `model` (on the CPU, fp32, attention "eager"). Returns their paths."""
    folder = pathlib.Path(folder)
    ids = torch.randint(0, 30000, (2, 16))
    torch.onnx.export(Exported(model), (ids, torch.ones_like(ids), torch.zeros_like(ids)), folder / "plain.onnx", dynamo=False,
                      opset_version=17, input_names=list(INPUTS), output_names=list(OUTPUTS),
                      dynamic_axes={name: {0: "batch", 1: "sequence"} for name in INPUTS + OUTPUTS})
    config = model.config
    fused = optimizer.optimize_model(str(folder / "plain.onnx"), model_type="bert", num_heads=config.num_attention_heads,
                                     hidden_size=config.hidden_size, use_gpu=True, opt_level=0)
    counts = fused.get_fused_operator_statistics()
    for name, per_layer in FUSED.items():
        if counts[name] < per_layer * config.num_hidden_layers:
            raise SystemExit(f"ONNX Runtime's optimizer fused {counts[name]} {name} in {config.num_hidden_layers} layers")
    fused.convert_float_to_float16(keep_io_types=False)
    fused.save_model_to_file(str(folder / "fused.onnx"))
    PackingMode(fused).convert(use_symbolic_shape_infer=False)
    fused.save_model_to_file(str(folder / "packed.onnx"))
    return folder / "fused.onnx", folder / "packed.onnx"


def session(path, graph=False):
    options = {"enable_cuda_graph": "1" if graph else "0", "use_tf32": "1"}
    made = onnxruntime.InferenceSession(str(path), providers=[("CUDAExecutionProvider", options)])
    if made.get_providers()[0] != "CUDAExecutionProvider":
        raise SystemExit("this onnxruntime has no CUDA provider")
    return made


def latency(path, batch, seq):
    """Median seconds of a run as one CUDA graph, everything on the device."""
    made = session(path, graph=True)
    ids = np.random.default_rng(0).integers(0, 30000, (batch, seq))
    given = dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids))))
    binding, kept = made.io_binding(), []
    for name in [i.name for i in made.get_inputs()]:
        kept.append(onnxruntime.OrtValue.ortvalue_from_numpy(given[name], "cuda", 0))
        binding.bind_ortvalue_input(name, kept[-1])
    for name in OUTPUTS:
        kept.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type((batch, seq), np.float16, "cuda", 0))
        binding.bind_ortvalue_output(name, kept[-1])
    times = []
    for i in range(150):
        start = time.perf_counter()
        made.run_with_iobinding(binding)
        if i >= 30:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def texts_per_second(path, lengths, batch):
    """Texts of these lengths in this order, in batches padded to their longest, from host memory and back."""
    made = session(path)
    rng = np.random.default_rng(0)
    batches = []
    for first in range(0, len(lengths), batch):
        own = np.array(lengths[first : first + batch])
        mask = (np.arange(own.max())[None, :] < own[:, None]).astype(np.int64)
        batches.append((rng.integers(0, 30000, mask.shape), mask, np.zeros_like(mask)))

    def run_all():
        for arrays in batches:
            binding = made.io_binding()
            for name, array in zip(INPUTS, arrays):
                binding.bind_cpu_input(name, array)
            for name in OUTPUTS:
                binding.bind_output(name, "cpu")
            made.run_with_iobinding(binding)
            binding.get_outputs()

    run_all()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run_all()
        times.append(time.perf_counter() - start)
    return len(lengths) / statistics.median(times)
