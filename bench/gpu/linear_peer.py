"""cuBLASLt (torch.nn.functional.linear, f16 with bias) at the shapes and in the manner of linear_bench.cc.

    python linear_peer.py [T ...]                  prints "T N K us TFLOP/s cublaslt"
    python linear_peer.py --compare OWN PEER       geometric means by T of two saved outputs: best and chosen over peer
"""
import math
import sys

WEIGHTS, LAUNCHES, REPLAYS = 8, 32, 9
SHAPES = [(2304, 768), (768, 768), (3072, 768), (768, 3072), (3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096)]


def measure(row_counts):
    import torch

    from replay import graph_of, median_ms

    print("#", torch.cuda.get_device_name(), "torch", torch.__version__)
    for n, k in SHAPES:
        weights = [(torch.rand(n, k, device="cuda") * 0.1 - 0.05).half() for _ in range(WEIGHTS)]
        bias = torch.rand(n, device="cuda").half()
        for rows in row_counts:
            x = (torch.rand(rows, k, device="cuda") * 2 - 1).half()

            def launch(i):
                return torch.nn.functional.linear(x, weights[i % WEIGHTS], bias)

            with torch.no_grad():
                us = 1e3 * median_ms(graph_of(launch, LAUNCHES).replay, REPLAYS, warmup=2) / LAUNCHES
            print(rows, n, k, f"{us:.2f} {2 * rows * n * k / us * 1e-6:.0f} cublaslt", flush=True)


def compare(own_file, peer_file):
    def read(path, keep):
        table = {}
        for line in open(path):
            f = line.split()
            if line.startswith("#") or len(f) < 6 or not keep(line):
                continue
            key = tuple(int(v) for v in f[:3])
            table[key] = min(table.get(key, math.inf), float(f[3]))
        return table

    best, chosen, peer = read(own_file, lambda _: True), read(own_file, lambda l: l.rstrip().endswith("chosen")), read(peer_file, lambda _: True)
    for rows in sorted({key[0] for key in best}):
        keys = [key for key in best if key[0] == rows and key in peer]
        mean = lambda own: math.exp(sum(math.log(peer[key] / own[key]) for key in keys) / len(keys))
        print(f"T={rows}: cuBLASLt time over best {mean(best):.3f}, over chosen {mean(chosen):.3f}")


if sys.argv[1:2] == ["--compare"]:
    compare(*sys.argv[2:4])
else:
    measure([int(a) for a in sys.argv[1:]] or [128, 384, 1024, 4224, 8448, 16896])
