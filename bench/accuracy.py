#!/usr/bin/env python3
"""Task accuracy of the assembled MiniLM checkpoints, from text to answers with the command line alone.

usage: accuracy.py TENON SST2_CHECKPOINT SQUAD_CHECKPOINT DATA_DIR [--minilm CHECKPOINT] [BUILD_OPTION …]

Expected (measured with PyTorch in fp32): SST-2 dev 789 of 872; SQuAD F1 73.74 on the ten articles that training left out.
With --minilm (a sentence-transformers folder) also Spearman's correlation on STS-B dev. Options such as --int8 go to
`tenon build`. Needs only Python's standard library.
"""
import argparse
import collections
import csv
import json
import math
import pathlib
import re
import string
import subprocess
import sys
import tempfile


def run(tenon, *args):
    return json.loads(subprocess.run([tenon, "run", *map(str, args), "--json"], check=True, capture_output=True, text=True).stdout)


def write_lines(path, texts):
    path.write_text("".join(json.dumps(t) + "\n" for t in texts))
    return path


def sst2(tenon, engine, data, folder):
    rows = list(csv.DictReader((data / "sst2" / "glue_dev.tsv").open(), delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = write_lines(folder / "sst2.txt", [r["sentence"].strip() for r in rows])
    answers = run(tenon, engine, "--texts", texts, "--max-length", 128)
    right = sum(a["labels"][0]["label"] == ("positive" if r["label"] == "1" else "negative") for a, r in zip(answers, rows))
    return right, len(rows)


def normalise(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(prediction, gold):
    p, g = normalise(prediction).split(), normalise(gold).split()
    common = sum((collections.Counter(p) & collections.Counter(g)).values())
    if not common:
        return float(p == g)
    return 2 * common / (len(p) + len(g))


def squad(tenon, engine, data, folder):
    articles = json.loads((data / "squad_v1.1" / "dev-v1.1.json").read_text())["data"]
    held_out = sorted(a["title"] for a in articles)[::5]
    triples = [(q["question"], p["context"], [a["text"] for a in q["answers"]]) for a in articles if a["title"] in held_out
               for p in a["paragraphs"] for q in p["qas"]]
    questions = write_lines(folder / "questions.txt", [t[0] for t in triples])
    contexts = write_lines(folder / "contexts.txt", [t[1] for t in triples])
    answers = run(tenon, engine, "--texts", questions, "--pairs", contexts, "--max-length", 384, "--first-window")
    scores = [max(f1(a["answer"]["text"], gold) for gold in t[2]) for a, t in zip(answers, triples)]
    exact = [max(normalise(a["answer"]["text"]) == normalise(gold) for gold in t[2]) for a, t in zip(answers, triples)]
    return 100 * sum(scores) / len(scores), 100 * sum(exact) / len(exact), len(scores)


def ranks(values):
    """1 for the least; equal values share their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    i = 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and values[order[j + 1]] == values[order[i]]:
            j += 1
        for k in range(i, j + 1):
            out[order[k]] = (i + j) / 2 + 1
        i = j + 1
    return out


def correlation(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return covariance / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def stsb(tenon, engine, data, folder):
    rows = [r for r in csv.reader((data / "stsb" / "stsb-en-dev.csv").open()) if len(r) == 3]
    texts = write_lines(folder / "stsb.txt", [r[0] for r in rows] + [r[1] for r in rows])
    subprocess.run([tenon, "run", engine, "--texts", texts, "--out", folder / "stsb.json"], check=True, stdout=subprocess.DEVNULL)
    vectors = next(iter(json.loads((folder / "stsb.json").read_text()).values()))
    scores = [sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
              for a, b in zip(vectors[:len(rows)], vectors[len(rows):])]
    return correlation(ranks(scores), ranks([float(r[2]) for r in rows])), len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tenon", "sst2", "squad"):
        parser.add_argument(name)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--minilm")
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model in ("sst2", "squad", "minilm"):
            if getattr(args, model):
                subprocess.run([args.tenon, "build", getattr(args, model), "-o", folder / f"{model}.tenon", "-q", *options], check=True,
                               stdout=subprocess.DEVNULL)
        print("SST-2: %d of %d" % sst2(args.tenon, folder / "sst2.tenon", args.data, folder), flush=True)
        print("SQuAD: F1 %.2f, EM %.2f over %d questions" % squad(args.tenon, folder / "squad.tenon", args.data, folder), flush=True)
        if args.minilm:
            print("STS-B: Spearman %.4f over %d pairs" % stsb(args.tenon, folder / "minilm.tenon", args.data, folder))


if __name__ == "__main__":
    main()
