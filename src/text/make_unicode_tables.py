#!/usr/bin/env python3
"""Writes unicode_tables.inc: the sets of code points that Hugging Face `tokenizers` works with, asked from the library.

Its parts carry Unicode data of different ages (categories 8, normalisation 9, case and words of its build), so no one
library of ours has the same sets. Usage: make_unicode_tables.py > unicode_tables.inc   (tokenizers 0.23.3, about 1 min)
"""
from tokenizers import Regex
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(member):
    """[first, last] of each maximal run of code points that `member` accepts."""
    runs = []
    for c in CODE_POINTS:
        if not member(chr(c)):
            continue
        if runs and runs[-1][1] == c - 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    return runs


def bert(**options):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return N.BertNormalizer(**(off | options)).normalize_str


clean, strip = bert(clean_text=True), bert(strip_accents=True)
nfd, nfkd, marks = N.NFD().normalize_str, N.NFKD().normalize_str, N.StripAccents().normalize_str
lower = N.Lowercase().normalize_str
bert_words = P.BertPreTokenizer().pre_tokenize_str
words = P.Whitespace().pre_tokenize_str
space = P.WhitespaceSplit().pre_tokenize_str
letters = P.Split(Regex(r"\p{L}"), "isolated").pre_tokenize_str
numbers = P.Split(Regex(r"\p{N}"), "isolated").pre_tokenize_str
pattern_space = P.Split(Regex(r"\s"), "isolated").pre_tokenize_str
assert all((len(space("," + chr(c) + ",")) == 2) == (len(pattern_space("," + chr(c) + ",")) == 3) for c in CODE_POINTS)


def is_ordered(c):
    """Has a combining class: sorts against a mark of class 1, or (if of class 1 itself) against one of class 202."""
    return nfd("a" + c + "\u0334") == "a\u0334" + c or nfd("a\u0327" + c) == "a" + c + "\u0327"


SETS = {
    # U+FFFD is removed by clean_text without being a control character.
    "kControlRanges": lambda c: clean("a" + c + "a") == "aa" and c != "\ufffd",
    "kSpaceRanges": lambda c: len(space("a" + c + "a")) == 2,
    "kPunctuationRanges": lambda c: len(bert_words("a" + c + "a")) == 3,
    "kNonspacingRanges": lambda c: strip("a" + c + "a") == "aa",
    "kMarkRanges": lambda c: marks("a" + c + "a") == "aa",
    "kOrderedRanges": is_ordered,
    "kDecomposesRanges": lambda c: nfkd(c) != c and not 0xAC00 <= ord(c) <= 0xD7A3,
    "kWordRanges": lambda c: len(words("a" + c + "a")) == 1,
    "kLetterRanges": lambda c: len(letters("," + c + ",")) == 3,
    "kNumberRanges": lambda c: len(numbers("," + c + ",")) == 3,
}


def print_table(kind, name, rows):
    print(f"\nconstexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(f"0x{v:x}" for v in row) + "},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


print("// Written by make_unicode_tables.py from Hugging Face `tokenizers`; do not edit. {first, last} of each run.")
for name, member in SETS.items():
    print_table("CharRange", name, ranges(member))

# Case pairs that are younger than utf8proc 2.8 (Unicode 14) as Python 3.11 has them too: {first, last, first lower}.
runs = []
for c in CODE_POINTS:
    low = lower(chr(c))
    if low == chr(c).lower() or len(low) != 1:
        continue
    if runs and runs[-1][1] == c - 1 and ord(low) - c == runs[-1][2] - runs[-1][0]:
        runs[-1][1] = c
    else:
        runs.append([c, c, ord(low)])
print_table("LowerRange", "kYoungLowerRanges", runs)
