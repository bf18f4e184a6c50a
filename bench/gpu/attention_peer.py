"""PyTorch's scaled_dot_product_attention (f16, heads of 64, views of one merged QKV matrix) at the shapes and in the
manner of attention_bench.cc.

    python attention_peer.py [S...]                prints "S batch heads us TFLOP/s backend"

The clock depends on what ran before (the chip is limited by its power), so compare in turns:

    for i in 1 2 3; do attention_bench 128 384 512; python attention_peer.py 128 384 512; done
"""
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from replay import graph_of, median_ms

LAUNCHES, REPLAYS, DIM, TOKENS = 32, 9, 64, 16384


def measure(s, batch, heads, backend):
    qkv = (torch.rand(batch, s, 3, heads, DIM, device="cuda") * 4 - 2).half()
    q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))

    def launch(_):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    with torch.no_grad():
        us = 1e3 * median_ms(graph_of(launch, LAUNCHES).replay, REPLAYS, warmup=2) / LAUNCHES
    print(s, batch, heads, f"{us:.2f} {4 * batch * s * s * heads * DIM / us * 1e-6:.0f} {backend.name}", flush=True)


if __name__ == "__main__":
    print("#", torch.cuda.get_device_name(), "torch", torch.__version__)
    lengths = [int(s) for s in sys.argv[1:]] or [32, 128, 384, 512]
    for heads in (12, 16):
        for s, batch in [(s, TOKENS // s) for s in lengths] + [(s, 1) for s in lengths]:
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
                try:
                    measure(s, batch, heads, backend)
                except RuntimeError as e:
                    print(s, batch, heads, "- -", backend.name, str(e).splitlines()[0])
