#!/usr/bin/env python3
"""Checks and times linear_sm90.cu at the products of an encoder with many rows, beside cuBLASLt, under sustained load.

    python3 bench/gpu/linear_rows.py [--width 768] [--rows 16384,12288] [--tile TEXT ...] [--source FILE ...]

The four products of a layer with their real epilogues: qkv (x normalised), out and down (normalised residual, moments of the
result), up (x normalised, GELU). Compiles the kernel by NVRTC for each tile ("128x192 pingpong 1": tile, schedule, cluster),
compares results and moments with torch in f32, also at an odd number of rows, and times graphs of 16 launches with eight weight
matrices in random order, round after round without a pause, so that the GPU's power limit is in force as in a model.
--source: further versions of the kernel's file, for comparison. cuBLASLt computes x Wᵀ + bias only. Prints the median of a
launch in µs, the range and TFLOP/s, fastest first.
"""
import argparse
import concurrent.futures
import ctypes
import math
import pathlib
import random

import torch

from replay import graph_of

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src/kernels/cuda"
TILES = ["128x192 cooperative 1", "128x192 cooperative 2", "128x256 cooperative 1", "128x256 cooperative 2",
         "128x128 pingpong 1", "128x128 pingpong 2", "128x192 pingpong 1", "128x192 pingpong 2", "64x256 pingpong 1"]
NORM_X = dict(VECTOR="float", ACTIVATION=0, HAS_BIAS=1, HAS_RESIDUAL=0, NORM_X=1, NORM_RESIDUAL=0, MOMENTS=0)
GELU = {**NORM_X, "ACTIVATION": 2}
RESIDUAL = {**NORM_X, "HAS_RESIDUAL": 1, "NORM_X": 0, "NORM_RESIDUAL": 1, "MOMENTS": 1}
EPSILON, LAUNCHES, WEIGHTS = 1e-3, 16, 8
cuda = ctypes.CDLL("libcuda.so.1")
nvrtc = ctypes.CDLL("libnvrtc.so.13")


class Args(ctypes.Structure):  # LinearArgs
    _fields_ = [(n, ctypes.c_void_p) for n in "bias residual x_moments residual_moments gamma y y_moments".split()] + [
        ("rows", ctypes.c_int), ("epsilon", ctypes.c_float), ("backwards", ctypes.c_bool)]


class Attribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_uint * 16)]


class Launch(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in "gx gy gz bx by bz shared".split()] + [
        ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint)]


def check(result, what):
    if result != 0:
        raise RuntimeError(f"{what}: error {result}")


def plan(tile, depth):
    """m, n, pingpong, cluster, stages, slots, bytes of shared memory: as Sm90Tile of linear_sm90.cc."""
    size, schedule, cluster = tile.split()
    m, n = map(int, size.split("x"))
    pingpong = schedule == "pingpong"
    room = 227 * 1024 - 512 - m * 8 * (2 if pingpong else 1)
    blocks, stage = m // (64 if pingpong else 128), (m + n) * 128
    stages = min(8, -(-depth // 64), (room - 4 * blocks * 8192) // stage)
    slots = min(blocks * n // 64, (room - stages * stage) // 16384)
    return m, n, int(pingpong), int(cluster), stages, slots, stages * stage + slots * 16384 + 512


def compile_kernel(source, tile, epilogue, columns, depth):
    m, n, pingpong, cluster, stages, slots, _ = plan(tile, depth)
    defines = dict(ELEMENT="f16", COLUMNS=columns, DEPTH=depth, TILE_M=m, TILE_N=n, STAGES=stages, SLOTS=slots,
                   CLUSTER=cluster, PINGPONG=pingpong, **epilogue)
    options = ["-std=c++17", "-arch=sm_90a", f"-I{ROOT / 'device'}"] + [f"-D{k}={v}" for k, v in defines.items()]
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), b"linear.cu", 0, None, None), "source")
    if nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options])):
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(log.value.decode()[:2000])
    check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)), "compiling")
    cubin = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetCUBIN(program, cubin), "compiling")
    return cubin.raw


def moments(t):
    panels = t.float().view(t.shape[0], -1, 64)
    mean = panels.mean(2)
    return torch.stack([mean, ((panels - mean[..., None]) ** 2).sum(2)], 2).contiguous()


class Problem:
    def __init__(self, rows, columns, depth, epilogue):
        self.rows, self.columns, self.depth, self.epilogue = rows, columns, depth, epilogue
        self.x = torch.randn(rows, depth, device="cuda").half()
        self.w = [(torch.randn(columns, depth, device="cuda") / math.sqrt(depth)).half() for _ in range(WEIGHTS)]
        self.bias, self.gamma = torch.randn(columns, device="cuda"), torch.rand(columns, device="cuda") + 0.5
        self.half_bias = self.bias.half()
        self.residual = torch.randn(rows, columns, device="cuda").half()
        self.y = torch.empty(rows, columns, device="cuda", dtype=torch.half)
        self.x_moments, self.residual_moments = moments(self.x), moments(self.residual)
        self.y_moments = torch.empty_like(self.residual_moments)
        self.flops = 2 * rows * columns * depth

    def reference(self):
        y, x = self.x.float() @ self.w[0].float().t(), self.x.float()
        if self.epilogue["NORM_X"]:
            y = y / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + EPSILON)
        y = y + self.bias
        if self.epilogue["ACTIVATION"]:
            y = torch.nn.functional.gelu(y)
        if self.epilogue["NORM_RESIDUAL"]:
            y = y + torch.nn.functional.layer_norm(self.residual.float(), (self.columns,), self.gamma, None, EPSILON)
        return y


class Kernel:
    def __init__(self, name, tile, cubin, depth):
        self.name, (self.m, self.n, _, self.cluster, _, _, self.shared) = name, plan(tile, depth)
        module, self.function = ctypes.c_void_p(), ctypes.c_void_p()
        check(cuda.cuModuleLoadData(ctypes.byref(module), cubin), "loading")
        check(cuda.cuModuleGetFunction(ctypes.byref(self.function), module, b"linear_sm90"), "finding")
        check(cuda.cuFuncSetAttribute(self.function, 8, self.shared), "shared memory")

    def launch(self, p, weight=0):
        maps = []

        def encode(t, rows, columns, box_rows):
            buffer = ctypes.create_string_buffer(192)
            address = (ctypes.addressof(buffer) + 63) // 64 * 64
            check(cuda.cuTensorMapEncodeTiled(
                ctypes.c_void_p(address), 6, 2, ctypes.c_void_p(t.data_ptr()), (ctypes.c_uint64 * 2)(columns, rows),
                (ctypes.c_uint64 * 1)(2 * columns), (ctypes.c_uint32 * 2)(64, box_rows), (ctypes.c_uint32 * 2)(1, 1), 0, 3, 3, 0), "map")
            maps.append(buffer)
            return address

        args = Args(*[t.data_ptr() for t in (p.bias, p.residual, p.x_moments, p.residual_moments, p.gamma, p.y, p.y_moments)],
                    p.rows, EPSILON)
        parameters = (ctypes.c_void_p * 5)(
            encode(p.x, p.rows, p.depth, self.m), encode(p.w[weight], p.columns, p.depth, self.n // self.cluster),
            encode(p.residual, p.rows, p.columns, 64), encode(p.y, p.rows, p.columns, 64), ctypes.addressof(args))
        attributes = (Attribute * 2)()
        attributes[0].id, attributes[0].value[0] = 6, 1  # programmatic dependent launch
        attributes[1].id, attributes[1].value[:3] = 4, [self.cluster, 1, 1]
        tiles = -(-p.rows // (self.m * self.cluster)) * -(-p.columns // self.n)
        slots = torch.cuda.get_device_properties(0).multi_processor_count // self.cluster
        launch = Launch(min(tiles, slots) * self.cluster, 1, 1, 384, 1, 1, self.shared,
                        torch.cuda.current_stream().cuda_stream, ctypes.addressof(attributes), 2 if self.cluster > 1 else 1)
        check(cuda.cuLaunchKernelEx(ctypes.byref(launch), self.function, parameters, None), self.name)


def is_right(kernel, p):
    p.y.fill_(float("nan")), p.y_moments.fill_(float("nan"))
    kernel.launch(p)
    torch.cuda.synchronize()
    wanted = p.reference()
    error = (p.y.float() - wanted).norm() / wanted.norm()
    if p.epilogue["MOMENTS"]:
        error = max(error, (p.y_moments - moments(wanted)).norm() / moments(wanted).norm() / 2)
    if not error < 1e-3:
        print(f"WRONG {kernel.name} at {p.rows} rows: {error:.1e}")
    return error < 1e-3


def race(graphs, flops, rounds, seconds):
    times = {name: [] for name in graphs}
    replays = max(1, round(seconds / (LAUNCHES * flops / 6e14)))
    for i in range(rounds + 1):
        for name in random.sample(list(graphs), len(graphs)):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            graphs[name].replay()
            begin.record()
            for _ in range(replays):
                graphs[name].replay()
            end.record()
            end.synchronize()
            if i > 0:
                times[name].append(begin.elapsed_time(end) * 1e3 / LAUNCHES / replays)
    return sorted((sorted(t), name) for name, t in times.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rows", default="16384,12288")
    parser.add_argument("--tile", action="append")
    parser.add_argument("--source", action="append", type=pathlib.Path, default=[])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.03)
    args = parser.parse_args()
    width, sources = args.width, [ROOT / "linear_sm90.cu", *args.source]
    products = {"qkv": (3 * width, width, NORM_X), "out": (width, width, RESIDUAL), "up": (4 * width, width, GELU),
                "down": (width, 4 * width, RESIDUAL)}
    torch.zeros(1, device="cuda")
    pool = concurrent.futures.ThreadPoolExecutor()
    for product, (columns, depth, epilogue) in products.items():
        jobs = [(f"{source.name} {tile}", tile, pool.submit(compile_kernel, source, tile, epilogue, columns, depth))
                for source in sources for tile in args.tile or TILES]
        kernels = [Kernel(name, tile, job.result(), depth) for name, tile, job in jobs]
        odd = Problem(1000 + random.randrange(300), columns, depth, epilogue)
        kernels = [k for k in kernels if is_right(k, odd)]
        for rows in map(int, args.rows.split(",")):
            p = Problem(rows, columns, depth, epilogue)
            graphs = {k.name: graph_of(lambda i: k.launch(p, i % WEIGHTS), LAUNCHES) for k in kernels if is_right(k, p)}
            graphs["cublaslt"] = graph_of(lambda i: torch.nn.functional.linear(p.x, p.w[i % WEIGHTS], p.half_bias), LAUNCHES)
            for times, name in race(graphs, p.flops, args.rounds, args.seconds):
                us = times[len(times) // 2]
                print(f"{rows} {product} {columns}x{depth} {us:.2f} [{times[0]:.2f} {times[-1]:.2f}] {p.flops / us * 1e-6:.0f} {name}",
                      flush=True)


main()
