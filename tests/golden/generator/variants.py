"""The same models in other containers: ways to store weights, constants, functions and inputs in ONNX."""

import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from .common import Case, Output, make_input_maker, session_options, widen
from .exports import make_model

DOMAIN = "example.layers"
QUANTIZED_TOLERANCE, HALF_TOLERANCE = 0.1, 0.02


def replace_initializers(proto, make):
    """make(initializer, its array) -> (initializers, nodes) that stand for it."""
    initializers, nodes = [], []
    for initializer in proto.graph.initializer:
        new_initializers, new_nodes = make(initializer, numpy_helper.to_array(initializer))
        initializers += new_initializers
        nodes += new_nodes
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(initializers)
    for position, node in enumerate(nodes):
        proto.graph.node.insert(position, node)


def narrow_initializers(data_type, as_raw):
    """Weights stored in 16 bits with a Cast to float behind each. Vectors stay float32, as converters leave them."""

    def rewrite(proto):
        def make(initializer, array):
            if array.dtype != np.float32 or array.ndim < 2:
                return [initializer], []
            name = initializer.name + "_narrow"
            if as_raw:
                narrow = array.astype(helper.tensor_dtype_to_np_dtype(data_type))
                tensor = helper.make_tensor(name, data_type, array.shape, narrow.tobytes(), raw=True)
            else:  # the bits in int32_data, one value per element
                tensor = helper.make_tensor(name, data_type, array.shape, array.flatten())
            return [tensor], [helper.make_node("Cast", [name], [initializer.name], to=TensorProto.FLOAT)]

        replace_initializers(proto, make)

    return rewrite


def typed_data(proto):
    """float_data and int64_data instead of raw_data."""

    def make(initializer, array):
        return [helper.make_tensor(initializer.name, initializer.data_type, array.shape, array.flatten())], []

    replace_initializers(proto, make)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                array = numpy_helper.to_array(attribute.t)
                attribute.t.CopyFrom(helper.make_tensor("", attribute.t.data_type, array.shape, array.flatten()))


def constants_everywhere(proto):
    """Weights as Constant nodes, small ones with the short attributes; no node has a name."""

    def make(initializer, array):
        if array.dtype == np.float32 and array.ndim == 0:
            value = {"value_float": float(array)}
        elif array.dtype == np.int64 and array.ndim == 0:
            value = {"value_int": int(array)}
        elif array.dtype == np.int64 and array.ndim == 1:
            value = {"value_ints": array.tolist()}
        elif array.dtype == np.float32 and array.ndim == 1:
            value = {"value_floats": array.tolist()}
        else:
            value = {"value": numpy_helper.from_array(array)}
        return [], [helper.make_node("Constant", [], [initializer.name], **value)]

    replace_initializers(proto, make)
    for node in proto.graph.node:
        node.name = ""


def double_constants(proto):
    """Scalar float constants stored as double with a Cast behind: what exports of Python floats look like."""

    def make(initializer, array):
        if array.dtype != np.float32 or array.ndim:
            return [initializer], []
        double = numpy_helper.from_array(array.astype(np.float64), initializer.name + "_double")
        return [double], [helper.make_node("Cast", [double.name], [initializer.name], to=TensorProto.FLOAT)]

    # The TorchScript exporter writes Constant nodes: make them initializers first.
    constants = [node for node in proto.graph.node if node.op_type == "Constant"]
    for node in constants:
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        proto.graph.node.remove(node)
    replace_initializers(proto, make)


def local_functions(proto):
    """LayerNormalization and Gelu as functions of a domain of their own; Gelu calls a second function."""
    opset = [helper.make_opsetid("", proto.opset_import[0].version)]
    norm = onnx.parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["" : {opset[0].version}]>
        LayerNorm <epsilon> (x, gain, shift) => (y) {{
            axes = Constant <value_ints = [-1]> ()
            two = Constant <value_float = 2.0> ()
            eps = Constant <value_float: float = @epsilon> ()
            mean = ReduceMean <keepdims = 1> (x, axes)
            centred = Sub (x, mean)
            squares = Pow (centred, two)
            variance = ReduceMean <keepdims = 1> (squares, axes)
            shifted = Add (variance, eps)
            deviation = Sqrt (shifted)
            normal = Div (centred, deviation)
            scaled = Mul (normal, gain)
            y = Add (scaled, shift)
        }}""")
    phi = onnx.parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["" : {opset[0].version}]>
        Phi (x) => (y) {{
            half = Constant <value_float = 0.5> ()
            one = Constant <value_float = 1.0> ()
            root = Constant <value_float = 1.41421356> ()
            scaled = Div (x, root)
            erf = Erf (scaled)
            sum = Add (erf, one)
            y = Mul (sum, half)
        }}""")
    gelu = onnx.parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["" : {opset[0].version}, "{DOMAIN}" : 1]>
        Gelu (x) => (y) {{
            share = {DOMAIN}.Phi (x)
            y = Mul (x, share)
        }}""")
    proto.functions.extend([norm, phi, gelu])
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    for node in proto.graph.node:
        if node.op_type == "LayerNormalization":
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("epsilon", epsilon))
            node.op_type, node.domain = "LayerNorm", DOMAIN
        elif node.op_type == "Gelu":
            del node.attribute[:]
            node.domain = DOMAIN


def quantized(optimize=False, **options):
    """As onnxruntime's quantize_dynamic leaves it: DynamicQuantizeLinear and MatMulInteger, tables of 8 bits. With
    `optimize` as its sessions save it then, with fused operators of its own."""

    def rewrite(proto):
        with tempfile.TemporaryDirectory() as folder:
            source, result = f"{folder}/source.onnx", f"{folder}/result.onnx"
            onnx.save(proto, source)
            quantize_dynamic(source, result, **options)
            if optimize:
                session = session_options()
                session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
                session.optimized_model_filepath = f"{folder}/optimized.onnx"
                onnxruntime.InferenceSession(result, session, providers=["CPUExecutionProvider"])
                result = session.optimized_model_filepath
            return onnx.load(result)

    return rewrite


class Calibration(CalibrationDataReader):
    """Texts of 1 to 32 random tokens."""

    def __init__(self, proto):
        random = np.random.default_rng(0)

        def feed(seq):
            ranges = {"input_ids": (5, 120), "attention_mask": (1, 2), "token_type_ids": (0, 2)}
            return {port.name: random.integers(*ranges[port.name], (4, seq)) for port in proto.graph.input}

        self.feeds = [feed(1 + i % 32) for i in range(64)]

    def get_next(self):
        return self.feeds.pop() if self.feeds else None


def quantized_statically(linears_only=False, **options):
    """As onnxruntime's quantize_static leaves it, `linears_only` with products by weights alone in 8 bits."""

    def rewrite(proto):
        weights = {tensor.name for tensor in proto.graph.initializer}
        computed = [node.name for node in proto.graph.node if node.op_type == "MatMul" and not weights & set(node.input)]
        with tempfile.TemporaryDirectory() as folder:
            source, result = f"{folder}/source.onnx", f"{folder}/result.onnx"
            onnx.save(proto, source)
            quantize_static(source, result, Calibration(proto), nodes_to_exclude=computed if linears_only else [], **options)
            return onnx.load(result)

    return rewrite


def int32_inputs(names):
    make = make_input_maker(names)

    def make_int32(*arguments):
        return {name: tensor.to(torch.int32) for name, tensor in make(*arguments).items()}

    return make_int32


def rounded(model, dtype):
    """PyTorch's weights as the 16-bit file will hold them, so that both sides compute the same thing."""
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data = parameter.data.to(dtype).float()
    return model


def cases():
    names = ["input_ids", "attention_mask", "token_type_ids"]
    small = {"vocab_size": 120, "intermediate_size": 48, "max_position_embeddings": 48}

    def case(name, seed, exporter, opset, model=None, layers=1, **options):
        return Case(
            name=f"variant-{name}-{'ts' if exporter == 'torchscript' else exporter}{opset}",
            model=model or make_model("bert", "encoder", "eager", 300 + seed, layers=layers, **small),
            outputs=[Output("last_hidden_state", "tokens"), Output("pooler_output", "first")],
            make_inputs=options.pop("make_inputs", make_input_maker(names)),
            architecture="bert",
            exporter=exporter,
            opset=opset,
            layers=layers,
            **options,
        )

    def narrow(dtype, seed):
        return rounded(make_model("bert", "encoder", "eager", 300 + seed, layers=1, **small), dtype)

    yield case("external-data", 0, "torchscript", 17, layers=2, external_data=True, notes="weights in <file>.data")
    yield case("external-data", 1, "dynamo", 18, external_data=True, notes="weights in <file>.data")
    yield case(
        "local-functions", 2, "dynamo", 20, layers=2,
        rewrite=local_functions, notes="LayerNorm and Gelu are functions",
    )  # fmt: skip
    yield case(
        "fp16-initializers", 3, "torchscript", 14, narrow(torch.float16, 3),
        rewrite=narrow_initializers(TensorProto.FLOAT16, True), notes="float16 raw_data + Cast",
    )  # fmt: skip
    yield case(
        "fp16-int32-data", 4, "dynamo", 18, narrow(torch.float16, 4),
        rewrite=narrow_initializers(TensorProto.FLOAT16, False), notes="float16 in int32_data + Cast",
    )  # fmt: skip
    yield case(
        "bf16-initializers", 5, "torchscript", 17, narrow(torch.bfloat16, 5),
        rewrite=narrow_initializers(TensorProto.BFLOAT16, True), notes="bfloat16 raw_data + Cast",
    )  # fmt: skip
    yield case("int32-inputs", 6, "torchscript", 14, make_inputs=int32_inputs(names), notes="all inputs are int32")
    yield case("int32-inputs", 7, "dynamo", 20, make_inputs=int32_inputs(names), notes="all inputs are int32")
    yield case("double-constants", 8, "torchscript", 14, rewrite=double_constants, notes="scalars are double + Cast")
    yield case("float-data", 9, "torchscript", 17, rewrite=typed_data, notes="float_data/int64_data, no raw_data")
    yield case("constant-nodes", 10, "dynamo", 18, rewrite=constants_everywhere, notes="weights are Constant nodes")
    yield case(
        "initializers-as-inputs", 11, "torchscript", 11, export_options={"keep_initializers_as_inputs": True},
        notes="every initializer is a graph input too, as in files of IR version 3",
    )  # fmt: skip
    yield case("metadata", 12, "dynamo", 20, keep_metadata=True, notes="with the exporter's metadata_props")

    def wide(seed):  # enough columns that products are worth 8 bits
        sizes = {"vocab_size": 120, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 48}
        return widen(make_model("bert", "encoder", "eager", 300 + seed, layers=2, **sizes), 300 + seed, std=0.08)

    for seed, name, exporter, opset, keeps in [(16, "fp16-model", "torchscript", 17, True), (17, "fp16-outputs", "dynamo", 18, False)]:
        yield case(
            name, seed, exporter, opset, wide(seed), layers=2, tolerance=HALF_TOLERANCE,
            rewrite=lambda proto, keeps=keeps: convert_float_to_float16(proto, keep_io_types=keeps),
            notes="all floats are float16" + (", casts at inputs and outputs" if keeps else ""),
        )  # fmt: skip

    for seed, name, exporter, opset, options, notes in [
        (13, "quantized", "torchscript", 17, {"weight_type": QuantType.QUInt8}, "weights with a zero point"),
        (14, "quantized-columns", "dynamo", 18, {"weight_type": QuantType.QInt8, "per_channel": True}, "a scale for each column"),
        (15, "quantized-optimized", "torchscript", 17, {"weight_type": QuantType.QInt8, "optimize": True}, "fused by ONNX Runtime"),
    ]:
        yield case(
            name, seed, exporter, opset, wide(seed), layers=2, tolerance=QUANTIZED_TOLERANCE,
            rewrite=quantized(**options), notes=f"quantised dynamically, {notes}",
        )  # fmt: skip

    # Steps that a few texts gave are far from PyTorch's numbers, but every runtime is to compute the same with them.
    matmuls = {"op_types_to_quantize": ["MatMul"], "weight_type": QuantType.QInt8}
    unfused = {"expected": {"attention": 0, "qkv": 0}, "packable": False, "reason": "its scores are rounded: attention is not recognised"}
    for seed, name, exporter, opset, options, more, notes in [
        (18, "quantized-static", "torchscript", 17, {"quant_format": QuantFormat.QDQ, "per_channel": True, "linears_only": True},
         {"expected": {"qkv": 0}}, "products by weights, a scale for each column"),
        (19, "quantized-static-signed", "dynamo", 18, {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QInt8},
         unfused, "all products, in -128 to 127"),
        (20, "quantized-operators", "torchscript", 17, {"quant_format": QuantFormat.QOperator},
         unfused, "QLinearMatMul"),
    ]:  # fmt: skip
        yield case(
            name, seed, exporter, opset, wide(seed), layers=2, tolerance=QUANTIZED_TOLERANCE, rounding=0.5,
            rewrite=quantized_statically(**{**matmuls, **options}), notes=f"quantised statically, {notes}", **more,
        )  # fmt: skip
