#!/usr/bin/env python3
"""Tenon's tokenizer against Hugging Face `tokenizers`, one thread each, in turns; ids and offsets from both.

Usage: tokenizer_peer.py BENCH TOKENIZER SQUAD_JSON [RUNS]
  BENCH       the program tokenizer_bench
  TOKENIZER   a tokenizer.json, or an uncased BERT vocabulary (vocab.txt)
  SQUAD_JSON  SQuAD v1.1 (its contexts are the texts)

The peer runs in the fastest way that gives offsets: encode_batch over all texts in Rust, without a thread pool. Reading
ids and offsets out into Python is not counted for it. Each side runs once before the clock counts. Seconds are of the
processor, not of the wall: others may share the machine.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import BertWordPieceTokenizer, Tokenizer, __version__


def contexts(path):
    articles = json.load(open(path))["data"]
    return [" ".join(p["context"].split("\n")) for article in articles for p in article["paragraphs"]]


class Ours:
    def __init__(self, bench, vocab, texts):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".txt")
        self.file.write("".join(text + "\n" for text in texts))
        self.file.flush()
        self.process = subprocess.Popen([bench, vocab, self.file.name, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print("tenon", self.process.stdout.readline().strip())

    def run(self):
        print("run", file=self.process.stdin, flush=True)
        seconds, _, tokens, *_ = self.process.stdout.readline().split()
        return float(seconds), int(tokens)


class Theirs:
    def __init__(self, vocab, texts):
        begin = time.process_time()
        self.texts = texts
        self.tokenizer = Tokenizer.from_file(vocab) if vocab.endswith(".json") else BertWordPieceTokenizer(vocab, lowercase=True)
        print(f"tokenizers {__version__} loaded in {1e3 * (time.process_time() - begin):.2f} ms")

    def run(self):
        begin = time.process_time()
        rows = self.tokenizer.encode_batch(self.texts)
        seconds = time.process_time() - begin
        return seconds, sum(len(row) for row in rows)


def main():
    bench, vocab, squad = sys.argv[1:4]
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 9
    texts = contexts(squad)
    ours, theirs = Ours(bench, vocab, texts), Theirs(vocab, texts)
    assert ours.run()[1] == theirs.run()[1], "the two give different numbers of tokens"
    pairs = [(ours.run(), theirs.run()) for _ in range(runs)]
    for name, side in (("tenon", 0), ("tokenizers", 1)):
        rates = sorted(pair[side][1] / pair[side][0] / 1e6 for pair in pairs)
        print(f"{name:10}  median {statistics.median(rates):8.3f} M tokens/s  [{rates[0]:.3f} … {rates[-1]:.3f}]")
    ratios = sorted(theirs[0] / ours[0] for ours, theirs in pairs)
    print(f"ratio       median {statistics.median(ratios):8.2f}             [{ratios[0]:.2f} … {ratios[-1]:.2f}]  "
          f"{len(texts)} texts, {pairs[0][0][1]} tokens, {runs} runs in turns")


if __name__ == "__main__":
    main()
