"""Convolutional networks: torchvision's architectures written out, and transformers' own, narrow and for small images."""

import zlib

import torch
import transformers
from torch import nn
from torch.nn import functional

from .common import Case, Output
from .architectures import FirstOutput

CLASSES = 10


class FrozenBatchNorm(nn.Module):
    """Batch normalisation written out as one factor and one shift per channel, as detection models have it."""

    def __init__(self, channels):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def conv_norm(inputs, outputs, kernel=1, stride=1, groups=1, activation=None, norm=nn.BatchNorm2d):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(outputs), *([activation] if activation else []))


class ResNetBlock(nn.Module):
    """A basic block of two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1 four times as wide (torchvision's)."""

    def __init__(self, inputs, width, stride, bottleneck, norm):
        super().__init__()
        self.relu, self.outputs = nn.ReLU(inplace=True), width * 4 if bottleneck else width
        if bottleneck:
            parts = [conv_norm(inputs, width, activation=nn.ReLU(), norm=norm)]
            parts += [conv_norm(width, width, 3, stride, activation=nn.ReLU(), norm=norm), conv_norm(width, self.outputs, norm=norm)]
        else:
            parts = [conv_norm(inputs, width, 3, stride, activation=nn.ReLU(), norm=norm), conv_norm(width, width, 3, norm=norm)]
        self.body, self.downsample = nn.Sequential(*parts), None
        if stride != 1 or inputs != self.outputs:
            self.downsample = conv_norm(inputs, self.outputs, 1, stride, norm=norm)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.body(x) + identity)


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, widths=(6, 8, 12, 20), norm=nn.BatchNorm2d):
        super().__init__()
        self.stem = conv_norm(3, widths[0], 7, 2, activation=nn.ReLU(inplace=True), norm=norm)
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1)
        stages, inputs = [], widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths)):
            for i in range(count):
                block = ResNetBlock(inputs, width, 2 if stage > 0 and i == 0 else 1, bottleneck, norm)
                stages.append(block)
                inputs = block.outputs
        self.stages, self.fc = nn.Sequential(*stages), nn.Linear(inputs, CLASSES)

    def forward(self, pixel_values):
        x = self.stages(self.maxpool(self.stem(pixel_values)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class SqueezeExcite(nn.Module):
    """Scales channels by two 1x1 convolutions of their means."""

    def __init__(self, channels, squeezed, activation, gate):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x):
        scale = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.fc2(self.activation(self.fc1(scale))))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1 without activation; squeeze and excite before the projection."""

    def __init__(self, inputs, expanded, outputs, kernel, stride, activation, squeeze=None):
        super().__init__()
        parts = [conv_norm(inputs, expanded, activation=activation())] if expanded != inputs else []
        parts.append(conv_norm(expanded, expanded, kernel, stride, groups=expanded, activation=activation()))
        parts += [squeeze(expanded)] if squeeze else []
        self.body = nn.Sequential(*parts, conv_norm(expanded, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNet(nn.Module):
    """blocks: (expanded, outputs, kernel, stride, activation, squeeze); hidden: the layer before the classes, if any."""

    def __init__(self, blocks, activation, last, hidden=0):
        super().__init__()
        parts, inputs = [conv_norm(3, 8, 3, 2, activation=activation())], 8
        for expanded, outputs, kernel, stride, own_activation, squeeze in blocks:
            parts.append(InvertedResidual(inputs, expanded, outputs, kernel, stride, own_activation, squeeze))
            inputs = outputs
        self.features = nn.Sequential(*parts, conv_norm(inputs, last, activation=activation()))
        head = [nn.Linear(last, hidden), activation()] if hidden else []
        self.classifier = nn.Sequential(*head, nn.Linear(hidden or last, CLASSES))

    def forward(self, pixel_values):
        return self.classifier(self.features(pixel_values).mean([2, 3]))


def mobilenet_v2():
    blocks = [(8, 6, 3, 1), (24, 8, 3, 2), (32, 8, 3, 1), (40, 12, 3, 2), (48, 12, 3, 1)]
    return MobileNet([(*block, nn.ReLU6, None) for block in blocks], nn.ReLU6, 36)


def mobilenet_v3():
    def squeeze(channels):
        return SqueezeExcite(channels, 8, nn.ReLU(), nn.Hardsigmoid())

    blocks = [(8, 8, 3, 2, nn.ReLU, squeeze), (24, 12, 3, 2, nn.ReLU, None), (30, 12, 3, 1, nn.ReLU, None)]
    blocks += [(36, 16, 5, 2, nn.Hardswish, squeeze), (40, 16, 5, 1, nn.Hardswish, squeeze)]
    return MobileNet(blocks, nn.Hardswish, 32, 40)


def efficientnet():
    def squeeze(channels):
        return SqueezeExcite(channels, 4, nn.SiLU(), nn.Sigmoid())

    blocks = [(8, 6, 3, 1), (24, 8, 3, 2), (32, 8, 3, 1), (40, 12, 5, 2), (48, 12, 5, 1)]
    return MobileNet([(*block, nn.SiLU, squeeze) for block in blocks], nn.SiLU, 36)


def from_transformers(name, **arguments):
    config = getattr(transformers, name + "Config")(num_labels=CLASSES, return_dict=False, **arguments)
    return FirstOutput(getattr(transformers, name + "ForImageClassification")(config))


def hf_efficientnet():
    return from_transformers(
        "EfficientNet", image_size=32, width_coefficient=0.25, depth_coefficient=1.0, depth_divisor=4, hidden_dim=320,
        kernel_sizes=[3, 3, 5], in_channels=[32, 32, 48], out_channels=[32, 48, 64], strides=[1, 2, 2],
        num_block_repeats=[1, 2, 2], expand_ratios=[1, 4, 4], squeeze_expansion_ratio=0.25,
    )  # fmt: skip


MODELS = {
    "resnet18": lambda: ResNet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: ResNet((1, 2, 2, 1), bottleneck=True),
    "resnet-frozen": lambda: ResNet((1, 1, 1, 1), bottleneck=True, norm=FrozenBatchNorm),
    "mobilenet-v2": mobilenet_v2,
    "mobilenet-v3": mobilenet_v3,
    "efficientnet": efficientnet,
    "hf-resnet": lambda: from_transformers("ResNet", embedding_size=8, hidden_sizes=[16, 24, 32], depths=[1, 2, 1]),
    "hf-mobilenet-v1": lambda: from_transformers("MobileNetV1", image_size=32, depth_multiplier=0.05),
    "hf-mobilenet-v2": lambda: from_transformers(
        "MobileNetV2", image_size=32, depth_multiplier=0.1, finegrained_output=False
    ),
    "hf-efficientnet": hf_efficientnet,
}

# architecture, exporter, opset, batch norms as they are (both exporters fold most of them otherwise), sizes
CASES = [
    ("resnet18", "torchscript", 11, False, "batch"),
    ("resnet18", "torchscript", 17, True, "image"),
    ("resnet18", "dynamo", 20, False, "fixed"),
    ("resnet50", "torchscript", 14, True, "batch"),
    ("resnet50", "dynamo", 18, True, "batch"),
    ("resnet-frozen", "torchscript", 14, True, "batch"),
    ("resnet-frozen", "dynamo", 18, True, "batch"),
    ("mobilenet-v2", "torchscript", 10, True, "batch"),
    ("mobilenet-v2", "torchscript", 17, False, "image"),
    ("mobilenet-v2", "dynamo", 18, True, "batch"),
    ("mobilenet-v3", "torchscript", 12, True, "batch"),
    ("mobilenet-v3", "torchscript", 17, False, "batch"),
    ("mobilenet-v3", "dynamo", 20, True, "batch"),
    ("efficientnet", "torchscript", 14, False, "batch"),
    ("efficientnet", "dynamo", 18, True, "image"),
    ("hf-resnet", "torchscript", 14, True, "batch"),
    ("hf-resnet", "dynamo", 20, False, "batch"),
    ("hf-mobilenet-v1", "torchscript", 14, True, "batch"),
    ("hf-mobilenet-v2", "dynamo", 18, True, "batch"),
    ("hf-mobilenet-v2", "torchscript", 17, False, "batch"),
    ("hf-efficientnet", "torchscript", 17, True, "batch"),
    ("hf-efficientnet", "dynamo", 18, False, "batch"),
]
# Batch and side of the images.
SHAPES = {"batch": [(1, 32), (3, 32)], "image": [(1, 32), (2, 47)], "fixed": [(2, 32)]}
DIMS = {"batch": ["batch", 3, 32, 32], "image": ["batch", 3, "height", "width"], "fixed": [2, 3, 32, 32]}


def randomise(model, seed):
    """Weights that keep the size of activations, and statistics that a wrong fold cannot miss."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() > 1:
            tensor.data = noise * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            tensor.data = 0.5 + noise.abs()
        elif name.endswith("weight"):
            tensor.data = 1 + 0.2 * noise
        else:
            tensor.data = 0.2 * noise
    return model.eval()


def make_images(batch, seq, valid, pattern, generator):
    side = max(seq, 32)  # the traced shape is that of a text
    return {"pixel_values": torch.randn(batch, 3, side, side, generator=generator)}


def count_layers(model):
    """Convolutions and activations of images as PyTorch runs them, however they are spelled in ONNX."""
    counts = {"conv": 0, "conv_activation": 0}
    activations = ["relu", "hardtanh", "silu", "hardswish", "hardsigmoid", "sigmoid"]  # hardtanh: relu6

    class Counter(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            name = getattr(func, "__name__", "").rstrip("_")
            counts["conv"] += name == "conv2d"
            counts["conv_activation"] += name in activations and args[0].dim() == 4
            return func(*args, **(kwargs or {}))  # what it calls is not counted

    with torch.no_grad(), Counter():
        model(pixel_values=torch.zeros(1, 3, 32, 32))
    return counts


def make_case(architecture, exporter, opset, keep_norms, sizes):
    short = {"torchscript": "ts", "dynamo": "dynamo"}[exporter]
    name = "-".join([architecture, f"{short}{opset}", *["norms"] * keep_norms, sizes])
    options = {"architecture": architecture, "exporter": exporter, "opset": opset, "layers": 0, "folding": not keep_norms}
    if keep_norms and exporter == "torchscript":
        options["export_options"] = {"training": torch.onnx.TrainingMode.PRESERVE}
    model = randomise(MODELS[architecture](), zlib.crc32(name.encode()))
    return Case(
        name=name, model=model, outputs=[Output("logits", "sequence")], make_inputs=make_images, head="imgcls",
        axes="static" if sizes == "fixed" else "dynamic", shapes=[(b, side, "ones") for b, side in SHAPES[sizes]],
        dims={"pixel_values": DIMS[sizes]}, expected=count_layers(model), packable=None, reason="there is no padding", **options,
    )  # fmt: skip


def cases():
    for choice in CASES:
        yield make_case(*choice)
