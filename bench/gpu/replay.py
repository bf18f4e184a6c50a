"""Work on the GPU timed as a replayed CUDA graph, so that its launches cost nothing."""
import statistics

import torch

WARM_UP = 8


def graph_of(launch, launches=1):
    """`launch(i)` for each i below `launches` as one graph. Some run before: what they load cannot be recorded."""
    with torch.cuda.stream(torch.cuda.Stream()):
        for i in range(WARM_UP):
            launch(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            launch(i)
    return graph


def median_ms(run, runs=30, warmup=10):
    """Of `run()` on the GPU's current stream."""
    times = []
    for i in range(warmup + runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= warmup:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)
