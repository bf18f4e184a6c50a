#!/usr/bin/env python3
"""Lengths of SQuAD v1.1's features in tokens, one a line, in the order of the file: for `tenon bench --lengths list:FILE`.

usage: squad_lengths.py dev-v1.1.json vocab.txt > lengths.txt      (at most 384 tokens, windows 128 apart; needs tokenizers)
"""
import json
import sys

from tokenizers import BertWordPieceTokenizer

tokenizer = BertWordPieceTokenizer(sys.argv[2], lowercase=True)
tokenizer.enable_truncation(384, stride=128, strategy="only_second")
for article in json.load(open(sys.argv[1]))["data"]:
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            first = tokenizer.encode(question["question"].strip(), paragraph["context"])
            for feature in [first, *first.overflowing]:
                print(len(feature.ids))
