#!/usr/bin/env python3
"""Writes golden/: what Hugging Face `tokenizers` gives for texts and settings that the C++ tests repeat.

vocab.txt     a vocabulary trimmed to what cases.json needs, cased and uncased tokens together
cases.json    whole encodings, decodings, windows of small texts for many tokenizer.json settings
digests.json  hashes over the encodings of whole corpora and of every code point (these need DATA to be checked again)

Usage: make_goldens.py DATA   (DATA: the folder with vocab/, squad_v1.1/ …; tokenizers 0.23.3; some minutes)
"""
import csv
import json
import os
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np
import tokenizers
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

HERE = Path(__file__).parent / "golden"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# ---------------------------------------------------------------- texts

TEXTS = [
    "", " ", "\t\n\r ", "Hello, World!", "hello", "HELLO", "unbelievably unaffordable", "don't can't I'm we've",
    "The quick brown fox jumps over the lazy dog.", "a", ".", "...", "a.b,c;d", "$5.00 + 3^2 = `x` ~ <y> | {z}",
    "naïve café über Ångström résumé", "NAÏVE CAFÉ ÜBER ÅNGSTRÖM", "e\u0301 a\u0323\u0301 a\u0301\u0323 \u0301x",
    "x\u0301\u0323\u0327y", "\u0344\u0323 \u0f73\u0301", "İstanbul ISTANBUL ıi ŞŞ", "ΑΣΣΟΣ Σ σς ΌΣΟΣ", "ǅ ǈ ß ẞ ﬁ ﬂ ŉ",
    "中国人民银行", "中 国", "我爱hello世界world", "日本語テスト カタカナ ひらがな", "한국어 테스트 각", "\u1100\u1161\u11a8",
    "Привет, мир! ЁЖ ёж Йод", "مرحبا بالعالم", "שָׁלוֹם עולם", "हिन्दी भाषा", "ภาษาไทย", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒻ₒₙₜ", "👍🏽 emoji 👨‍👩‍👧 x",
    "a\u00a0b\u2003c\u3000d\u2028e\u0085f\u000bg\u000ch", "zero\u200bwidth\u200djoin\ufeffbom", "soft\u00adhyphen",
    "nul\u0000in\u0001side\u007f", "replacement\ufffdchar \ufffd", "\ue000private\uf8ff \U000f0000x",
    "“quotes” ‘single’ – en — em … ellipsis", "don’t it’s l’été", "100% @user #tag a/b\\c under_score",
    "[CLS] [SEP] [MASK] [UNK] [PAD]", "x[MASK]y [mask] [ MASK ]", "[MASK][MASK] a[SEP]b", "[CLS", "CLS]", "[[MASK]]",
    "x" * 99, "x" * 100, "x" * 101, "é" * 100 + " " + "é" * 101, "supercalifragilisticexpialidocious",
    "ab" * 49 + "c", "word " * 30, "https://example.org/path?q=1&r=2#frag", "foo@bar.com 3.14159 1,000,000 -5",
    "¿Qué? ¡No! ·mid· §sec¶", "⹃⹄⸺ ᙭ 𑇉 ؝", "\u1734x \u07fdy \u0898z", "A\u030a\u0327 \u212b \u1e9b\u0323", "Ⅷ ⅷ Ⓐ ⓐ ①",
    "A\U00010400\U0001e900 \u1c89\ua7cb", "mixed中文and한글と日本", "tab\tsep\nnew\r\nline", "##ing ##ed #hash", "a##b",
    "newtoken NewToken NEWTOKEN xnewtokenx", "  <mask>  <mask> x<mask>", " a  b   c ", "_a_ b_c 9lives x²y ½",
]
PAIRS = [("who is it?", "It is the quick brown fox, of course."), ("", "only second"), ("only first", ""),
         ("naïve question?", "中国 answer " * 5), ("a b c d e f g h", "i j k"), ("x", "y " * 40)]
IDS = [[2, 3], [], [0, 1, 2, 3, 4]]


def trimmed_vocabulary(data):
    """Specials, then every token that an uncased or a cased tokenizer gives for the texts, and all single letters."""
    kept = {}
    for name, lower in (("bert-base-uncased", True), ("bert-base-cased", False)):
        tokenizer = BertWordPieceTokenizer(str(data / "vocab" / name / "vocab.txt"), lowercase=lower)
        texts = TEXTS + [t for pair in PAIRS for t in pair] + squad(data)["contexts"][:60]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            kept.update(dict.fromkeys(encoding.tokens))
        for token in sorted(tokenizer.get_vocab()):
            if len(token.removeprefix("##")) == 1:
                kept[token] = None
    return SPECIALS + [t for t in kept if t not in SPECIALS]


# ---------------------------------------------------------------- settings

def bert(**changes):
    return normalizers.BertNormalizer(**(dict(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True) | changes))


def base(vocab, normalizer="bert", pre_tokenizer="bert", post="bert", decoder=True, **model):
    ids = {token: i for i, token in enumerate(vocab)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", **model))
    if normalizer is not None:
        tokenizer.normalizer = bert() if normalizer == "bert" else normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer() if pre_tokenizer == "bert" else pre_tokenizer
    if post is not None:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)) if post == "bert" else post
    if decoder:
        tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def settings(vocab):
    """Named tokenizers."""
    n, p = normalizers, pre_tokenizers
    out = {
        "uncased": base(vocab),
        "cased": base(vocab, bert(lowercase=False)),
        "lowercase, accents kept": base(vocab, bert(strip_accents=False)),
        "accents stripped, case kept": base(vocab, bert(strip_accents=True, lowercase=False)),
        "text not cleaned": base(vocab, bert(clean_text=False)),
        "Chinese characters not split": base(vocab, bert(handle_chinese_chars=False)),
        "no normalizer": base(vocab, None),
        "no pre-tokenizer": base(vocab, pre_tokenizer=None),
        "no post-processor, no decoder": base(vocab, post=None, decoder=False),
        "words of at most 5": base(vocab, max_input_chars_per_word=5),
        "other continuation prefix": base(vocab, continuing_subword_prefix=""),
        "template": base(vocab, post=processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP]:1 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])),
        "template, second text first": base(vocab, post=processors.TemplateProcessing(
            single="$A:3 [SEP]:2", pair="$B:1 [SEP] $A", special_tokens=[("[SEP]", 3)])),
        "RoBERTa's processor": base(vocab, post=processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), trim_offsets=False)),
        "NFD, lowercase, accents": base(vocab, n.Sequence([n.NFD(), n.Lowercase(), n.StripAccents()])),
        "accents without NFD": base(vocab, n.StripAccents()),
        "NFC": base(vocab, n.NFC()), "NFD": base(vocab, n.NFD()), "NFKC": base(vocab, n.NFKC()), "NFKD": base(vocab, n.NFKD()),
        "lowercase": base(vocab, n.Lowercase()),
        "strip": base(vocab, n.Sequence([n.Strip(), n.Lowercase()]), None),
        "strip left": base(vocab, n.Strip(left=True, right=False), p.WhitespaceSplit()),
        "replace": base(vocab, n.Sequence([n.Replace("a", "xé"), n.Replace("lo", ""), n.Lowercase()])),
        "white space": base(vocab, n.Lowercase(), p.Whitespace()),
        "white space split": base(vocab, n.Lowercase(), p.WhitespaceSplit()),
        "sequence of pre-tokenizers": base(vocab, n.Lowercase(), p.Sequence([p.WhitespaceSplit(), p.Punctuation()])),
    }
    for behavior in ("removed", "contiguous", "merged_with_previous", "merged_with_next"):
        out[f"punctuation {behavior}"] = base(vocab, n.Lowercase(), p.Sequence([p.Punctuation(behavior), p.WhitespaceSplit()]))
    added = base(vocab)
    added.add_tokens([AddedToken("NewToken"), AddedToken("é", normalized=True), AddedToken("quick", single_word=True)])
    added.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("a.b", rstrip=True, normalized=False)])
    out["added tokens, normalised and not"] = added
    source = base(vocab)
    source.add_tokens([AddedToken("new", normalized=False), AddedToken("newtoken", normalized=False, single_word=True),
                       AddedToken("NewToken", normalized=False), AddedToken("fox ", normalized=False), AddedToken("–", normalized=False),
                       AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)])
    out["added tokens in the source"] = source
    trimmed = base(vocab, post=processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), trim_offsets=True, add_prefix_space=True))
    trimmed.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)])
    out["RoBERTa's processor, offsets trimmed"] = trimmed
    return out


# ---------------------------------------------------------------- encodings

def none_as(values):
    return [-1 if v is None else v for v in values]


def rows(encodings):
    """One line of numbers for each token, all texts together: id, type, word, begin, end, special, sequence."""
    flat = []
    for e in encodings:
        flat.append(np.array([len(e.ids)], np.int64))
        flat.append(np.stack([e.ids, e.type_ids, none_as(e.word_ids), [o[0] for o in e.offsets], [o[1] for o in e.offsets],
                              e.special_tokens_mask, none_as(e.sequence_ids)], axis=1).astype(np.int64).reshape(-1)
                    if e.ids else np.zeros(0, np.int64))
    return np.concatenate(flat)


def digest(numbers):
    """Sum of mixed (index, number): the same in digest.h."""
    with np.errstate(over="ignore"):
        z = (np.arange(len(numbers), dtype=np.uint64) << np.uint64(32)) | numbers.astype(np.uint32).astype(np.uint64)
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return f"{int((z ^ (z >> np.uint64(31))).sum(dtype=np.uint64)):016x}"


def case(encoding):
    return rows([encoding])[1:].tolist()


def cases(vocab):
    out = []
    for name, tokenizer in settings(vocab).items():
        config = json.loads(tokenizer.to_str())
        config["model"]["vocab"] = {}  # the test puts vocab.txt in
        entry = {"name": name, "tokenizer": config, "texts": [], "pairs": [], "plain": [], "decoded": []}
        for text in TEXTS:
            encoding = tokenizer.encode(text)
            entry["texts"].append(case(encoding))
        for a, b in PAIRS:
            entry["pairs"].append(case(tokenizer.encode(a, b)))
            entry["plain"].append(case(tokenizer.encode(a, b, add_special_tokens=False)))
        # tokenizers 0.23 decodes an added token to its normalised form, earlier versions and Tenon to its content.
        if "added" not in name:
            for text in TEXTS[:30]:
                ids = tokenizer.encode(text).ids
                entry["decoded"].append([ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)])
        out.append(entry)
    return out


def truncations(vocab):
    """Lengths, strategies and sides; windows."""
    tokenizer = base(vocab)
    out = []
    for a, b in [("a b c d e f g h i j k", None)] + PAIRS:
        for strategy in ("longest_first", "only_first", "only_second"):
            for direction in ("right", "left"):
                for length in (3, 4, 5, 8, 9, 16):
                    tokenizer.enable_truncation(length, strategy=strategy, direction=direction)
                    try:
                        encoding = tokenizer.encode(a, b)
                    except Exception:  # what cannot be cut enough is an error there
                        continue
                    out.append([a, b, strategy, direction, length, case(encoding)])
    windows = []
    for question, context in PAIRS + [(None, "a b c d e f g h i j k l m"), (None, "")]:
        for length, stride in ((12, 0), (12, 3), (16, 5), (200, 10)):
            tokenizer.enable_truncation(length, stride=stride, strategy="only_first" if question is None else "only_second")
            try:
                first = tokenizer.encode(context) if question is None else tokenizer.encode(question, context)
            except BaseException:  # stride too long: a panic there
                continue
            windows.append([question, context, length, stride, [case(e) for e in [first] + first.overflowing]])
    tokenizer.no_truncation()
    padded = []
    for direction, length, multiple in (("right", None, None), ("left", None, 8), ("right", 20, None), ("left", 13, 5)):
        tokenizer.enable_padding(direction=direction, length=length, pad_to_multiple_of=multiple)
        batch = ["a", "a b c d e f g h i", ""]
        padded.append([batch, direction, length, multiple, [[case(e), e.attention_mask] for e in tokenizer.encode_batch(batch)]])
        tokenizer.no_padding()
    return {"truncated": out, "windows": windows, "padded": padded}


# ---------------------------------------------------------------- corpora

def squad(data):
    articles = json.loads((data / "squad_v1.1/dev-v1.1.json").read_text())["data"]
    paragraphs = [p for article in articles for p in article["paragraphs"]]
    return {"contexts": [p["context"] for p in paragraphs],
            "questions": [q["question"] for p in paragraphs for q in p["qas"]],
            "pairs": [(q["question"], p["context"]) for p in paragraphs for q in p["qas"]]}


def corpora(data):
    """Name -> texts, or pairs of texts."""
    def lines(path):
        return (data / path).read_text().split("\n")[:-1]

    found = squad(data)
    with open(data / "stsb/stsb-en-dev.csv", newline="") as file:
        stsb = [(row[0], row[1]) for row in csv.reader(file)]
    return {
        "squad contexts": found["contexts"], "squad questions": found["questions"], "squad pairs": found["pairs"],
        "sst2": [line.rsplit("\t", 1)[0] for name in ("dev", "train") for line in lines(f"sst2/glue_{name}.tsv")[1:]],
        "stsb pairs": stsb,
        "wikitext": lines("text/wikitext-2/valid.txt") + lines("text/wikitext-2/test.txt"),
        "nq questions": [json.loads(line)["question"] for line in lines("text/nq_open/NQ-open.dev.jsonl")],
        "code points": [pattern.format(chr(c)) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000
                        for pattern in ("{}", "a{}b")],
    }


BLOCK = 1000  # lines per digest


def digests(data):
    out = []
    for vocabulary, lower in (("bert-base-uncased", True), ("bert-base-cased", False)):
        tokenizer = BertWordPieceTokenizer(str(data / "vocab" / vocabulary / "vocab.txt"), lowercase=lower)

        def add(name, texts, block, encode):
            values = [digest(rows(encode(texts[i:i + block]))) for i in range(0, len(texts), block)]
            out.append({"vocabulary": vocabulary, "corpus": name, "lines": len(texts), "block": block, "digests": values})
            print(vocabulary, name, len(texts), file=sys.stderr)

        for name, texts in corpora(data).items():
            add(name, texts, BLOCK if name != "code points" else 64 * BLOCK, tokenizer.encode_batch)
        tokenizer.enable_truncation(384, stride=128, strategy="only_second")
        add("squad windows", squad(data)["pairs"], BLOCK,
            lambda pairs: [w for e in tokenizer.encode_batch(pairs) for w in [e] + e.overflowing])
    return out


def main():
    data = Path(sys.argv[1])
    HERE.mkdir(exist_ok=True)
    vocab = trimmed_vocabulary(data)
    (HERE / "vocab.txt").write_text("".join(token + "\n" for token in vocab))
    golden = {"tokenizers": tokenizers.__version__, "texts": TEXTS, "pairs": PAIRS, "settings": cases(vocab)} | truncations(vocab)
    (HERE / "cases.json").write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=True) + "\n")
    table = ",\n".join(json.dumps(entry) for entry in digests(data))
    (HERE / "digests.json").write_text(f"[\n{table}\n]\n")


if __name__ == "__main__":
    main()
