"""Writes images/: small pictures of every kind, and what PIL and ONNX Runtime make of them (images/recorded.safetensors).

    pip install pillow numpy safetensors onnxruntime
    python make_images.py

Tensors: decoded/<file> u8[height, width, 3]; resized/<file>/<width>x<height>/<filter> u8; prepared/<file>/<side> f32: short
side 8/7 of side, centre cut out, normalised; logits/<file> f32[10] of a golden ResNet at side 48.
"""

import pathlib

import numpy as np
import onnxruntime
from PIL import Image
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "golden/onnx/resnet18-ts17-norms-image.onnx"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def picture(width, height, seed):
    """Smooth colours, an edge and some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    channels = [127 + 90 * np.sin(a * x + b * y + c) for a, b, c in random.uniform(1, 9, (3, 3))]
    pixels = np.stack(channels, -1) + random.normal(0, 6, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = random.uniform(0, 255, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def prepared(image, side):
    short = side * 8 // 7
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.resize(size, FILTERS["bilinear"])
    left, top = (int(round((whole - side) / 2.0)) for whole in size)
    pixels = np.asarray(image.crop((left, top, left + side, top + side))).astype(np.float64) / 255
    pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32))


def main():
    folder = HERE / "images"
    wide, tall = picture(61, 43, 1), picture(37, 80, 2)
    wide.save(folder / "wide.jpg", quality=85)
    tall.save(folder / "tall.jpg", quality=70, progressive=True, subsampling=2)
    wide.convert("L").save(folder / "grey.jpg", quality=85)
    tall.save(folder / "rgb.png")
    wide.convert("L").save(folder / "grey.png")
    wide.quantize(31).save(folder / "palette.png")
    with_alpha = tall.copy()
    with_alpha.putalpha(Image.fromarray(np.linspace(0, 255, 37 * 80).reshape(80, 37).astype(np.uint8)))
    with_alpha.save(folder / "alpha.png")
    picture(5, 1, 3).save(folder / "line.png")
    wide.convert("CMYK").save(folder / "four_inks.jpg")
    Image.fromarray((np.asarray(wide.convert("L")).astype(np.uint16) * 257)).save(folder / "deep.png")

    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    tensors = {"decoded/deep.png": np.asarray(wide.convert("L").convert("RGB"))}
    for name in ["wide.jpg", "tall.jpg", "grey.jpg", "rgb.png", "grey.png", "palette.png", "alpha.png", "line.png"]:
        image = Image.open(folder / name).convert("RGB")
        tensors[f"decoded/{name}"] = np.asarray(image)
        if name in ("wide.jpg", "rgb.png", "line.png"):
            for width, height in [(32, 24), (90, 100), (20, 90), (61, 7), (1, 1)]:
                for kind, method in FILTERS.items():
                    resized = np.asarray(image.resize((width, height), method))
                    tensors[f"resized/{name}/{width}x{height}/{kind}"] = resized
        if name in ("wide.jpg", "rgb.png"):
            tensors[f"prepared/{name}/32"] = prepared(image, 32)
            tensors[f"logits/{name}"] = session.run(None, {"pixel_values": prepared(image, 48)[None]})[0][0]
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(folder / "recorded.safetensors"))
    (folder / "recorded.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
