#!/usr/bin/env python3
"""Task accuracy of the assembled MiniLM checkpoints, from text to answers with the command line alone.

usage: accuracy.py TENON SST2_CHECKPOINT SQUAD_CHECKPOINT DATA_DIR

Expected (measured with PyTorch in fp32): SST-2 dev 789 of 872; SQuAD F1 73.74 on the ten articles that training left out.
Needs only Python's standard library.
"""
import collections
import csv
import json
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


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    tenon, data = sys.argv[1], pathlib.Path(sys.argv[4])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model, engine in ((sys.argv[2], "sst2.tenon"), (sys.argv[3], "squad.tenon")):
            subprocess.run([tenon, "build", model, "-o", folder / engine, "-q"], check=True, stdout=subprocess.DEVNULL)
        print("SST-2: %d of %d" % sst2(tenon, folder / "sst2.tenon", data, folder))
        print("SQuAD: F1 %.2f, EM %.2f over %d questions" % squad(tenon, folder / "squad.tenon", data, folder))


if __name__ == "__main__":
    main()
