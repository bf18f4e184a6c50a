#!/usr/bin/env python3
"""What each of two processes on the same processors keeps of the throughput that one has alone.

usage: two_processes.py TENON ENGINE [--case 1x128] [--threads 2] [--rounds 8] [--seconds 2]

In turns one process runs alone, then two side by side, each with as many threads. A share is a process's texts a second
beside the other, of the mean of what it does alone just before and after; medians and spread over both processes and all
rounds. 0.5 is an even half; less is lost to waiting.
"""
import argparse
import json
import statistics
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tenon")
    parser.add_argument("engine")
    parser.add_argument("--case", default="1x128")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", default="2")
    args = parser.parse_args()
    batch, seq = args.case.split("x")
    command = [args.tenon, "bench", args.engine, "--batch", batch, "--seq", seq, "--threads", args.threads,
               "--duration", args.seconds, "--json", "-q"]

    def rates(count):
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        return [json.loads(p.communicate()[0])[0]["texts_per_s"] for p in started]

    before = rates(1)[0]
    shares, alone = [], [before]
    for _ in range(args.rounds):
        together, after = rates(2), rates(1)[0]
        shares += [rate / ((before + after) / 2) for rate in together]
        alone.append(before := after)
    print(f"{args.case}, {args.threads} threads: alone {statistics.median(alone):.2f} texts/s ({min(alone):.2f}-{max(alone):.2f}), "
          f"share beside another {statistics.median(shares):.3f} ({min(shares):.3f}-{max(shares):.3f})")


if __name__ == "__main__":
    main()
