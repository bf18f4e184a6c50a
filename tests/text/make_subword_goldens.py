#!/usr/bin/env python3
"""Writes golden/subword/: small BPE and Unigram tokenizers, and what Hugging Face `tokenizers` gives with them.

bytes/         vocab.json and merges.txt of a byte-level BPE, as a model's folder keeps them (trained on WikiText-2)
spiece.model   a SentencePiece Unigram model with the normalizer "nmt_nfkc" (trained on WikiText-2)
bpe.model      a SentencePiece BPE model with byte fallback
cases.json     per setting: a tokenizer.json without its vocabulary, and digests over the encodings of texts
digests.json   hashes over whole corpora and every code point (these need DATA to be checked again)

Usage: make_subword_goldens.py DATA [train]   (tokenizers 0.23.3; `train` also needs sentencepiece 0.2 and makes new models)
"""
import json
import sys
from pathlib import Path

import make_goldens as base
from make_goldens import PAIRS, TEXTS, corpora, digest, rows
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent / "golden" / "subword"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
MORE_TEXTS = [
    "He said, ``I'll do it'' -- they'VE done 12345 things\n\n  and 3 more.\r\n", "   three blanks,   then\t\ttabs \n", "\n\n\nx\n \n y  ",
    "'S 'ſ 'LL 'd'dd 're're ''s it's", "a\u00a0\u00a0b \u3000c\u2003\u2003 d", "Ｆｕｌｌ ｗｉｄｔｈ ｶﾞ ㍿ ﷺ ¼ ² ªb", "e\u0301\u0301 ª\u0301 º\u200d ¨\u0308x",
    "<s> a</s><pad> <mask>b <mask> <sep>c <|endoftext|>d", "▁under▁▁score ▁ a", "12.5% of $1,234,567.89 — №7 ½", "word" * 60, "a b c d e f g h " * 8,
    "x" * 300 + " " + "ab" * 150, "\u200b\u200e zero\u200bwidth \ufeff", "tab\tin\x0bside\x0cform\x1c\x7f\x9f", "ΐ ΰ ᾳ ﬃ ǆ ĳ", "각 각 \u1112\u1161\u11ab",
]


def byte_model(**options):
    vocab = json.loads((HERE / "bytes/vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (HERE / "bytes/merges.txt").read_text().split("\n")[1:-1]]
    return models.BPE(vocab, merges, **options)


def piece_model(name):
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((HERE / name).read_bytes())
    return proto


def build(model, normalizer=None, pre_tokenizer=None, post=None, decoder=None, special=(), added=()):
    tokenizer = Tokenizer(model)
    for part, value in (("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("post_processor", post), ("decoder", decoder)):
        if value is not None:
            setattr(tokenizer, part, value)
    tokenizer.add_special_tokens([AddedToken(t, special=True) if isinstance(t, str) else t for t in special])
    tokenizer.add_tokens(list(added))
    return tokenizer


def byte_settings():
    """Settings of the byte-level model."""
    n, p = normalizers, pre_tokenizers
    cls, sep, mask = ("<s>", 0), ("</s>", 2), AddedToken("<mask>", lstrip=True, special=True)
    specials = ["<s>", "<pad>", "</s>", "<unk>", mask]
    template = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[cls, sep])

    def byte(**options):
        return p.ByteLevel(**options)

    out = {
        "RoBERTa": build(byte_model(), None, byte(add_prefix_space=False),
                         processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False), decoders.ByteLevel(), specials),
        "RoBERTa, prefix space": build(byte_model(), None, byte(add_prefix_space=True),
                                       processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=True), decoders.ByteLevel(), specials),
        "RoBERTa, normalised mask": build(byte_model(), None, byte(add_prefix_space=False),
                                          processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False), decoders.ByteLevel(),
                                          [AddedToken("<mask>", lstrip=True, rstrip=True, normalized=True, special=True)]),
        "GPT-2": build(byte_model(), None, byte(add_prefix_space=False), processors.ByteLevel(trim_offsets=False), decoders.ByteLevel(), ["<|endoftext|>"]),
        "GPT-2, offsets trimmed": build(byte_model(), None, byte(add_prefix_space=True), processors.ByteLevel(trim_offsets=True, add_prefix_space=False), decoders.ByteLevel()),
        "ModernBERT": build(byte_model(), n.NFC(), byte(add_prefix_space=False), template, decoders.ByteLevel(),
                            [AddedToken("[MASK]", lstrip=True, special=True)],
                            [AddedToken(" " * k, normalized=True) for k in (2, 3, 4)] + [AddedToken("|||EMAIL|||", normalized=True)]),
        "Llama 3": build(byte_model(ignore_merges=True), None, p.Sequence([p.Split(Regex(LLAMA3), "isolated"), byte(add_prefix_space=False, use_regex=False)]),
                         processors.Sequence([processors.ByteLevel(trim_offsets=True), template]), decoders.ByteLevel(), ["<s>"]),
        "Qwen 2": build(byte_model(), n.NFC(), p.Sequence([p.Split(Regex(QWEN2), "isolated"), byte(add_prefix_space=False, use_regex=False)]),
                        processors.ByteLevel(trim_offsets=False), decoders.ByteLevel()),
        "CLIP's words": build(byte_model(), n.Sequence([n.NFC(), n.Replace(Regex(r"\s+"), " "), n.Lowercase()]),
                              p.Sequence([p.Split(Regex(CLIP), "removed", invert=True), byte(add_prefix_space=False)]), None, decoders.ByteLevel()),
        "digits": build(byte_model(), None, p.Sequence([p.Digits(individual_digits=True), byte(add_prefix_space=False)])),
        "digits together": build(byte_model(), None, p.Sequence([p.Digits(individual_digits=False), byte(use_regex=False, add_prefix_space=True)])),
        "bytes of the whole text": build(byte_model(), None, byte(add_prefix_space=False, use_regex=False)),
        "cut at a character": build(byte_model(), None, p.Sequence([p.CharDelimiterSplit("e"), byte(add_prefix_space=False)])),
        "words kept by a pattern": build(byte_model(), None, p.Sequence([p.Split(Regex(GPT2), "merged_with_previous"), byte(use_regex=False)])),
    }
    for behavior in ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"):
        for invert in (False, True):
            out[f"literal {behavior}{', inverted' if invert else ''}"] = build(
                byte_model(), None, p.Sequence([p.Split("e ", behavior, invert=invert), byte(use_regex=False, add_prefix_space=False)]))
    return out


def own_settings():
    """Tokenizers with a vocabulary of their own."""
    words = pre_tokenizers.WhitespaceSplit()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    prefixed = ["<unk>"] + letters + ["##" + c for c in letters] + ["##ow", "##own", "qu", "##er", "##ver", "the", "th", "##ed"]
    merges = [("##o", "##w"), ("##ow", "##n"), ("q", "##u"), ("##e", "##r"), ("##v", "##er"), ("t", "##h"), ("th", "##e"), ("##e", "##d")]
    suffixed = ["<unk>"] + letters + [c + "</w>" for c in letters] + ["er</w>", "ow", "own</w>", "th", "the</w>"]
    endings = [("e", "r</w>"), ("o", "w"), ("ow", "n</w>"), ("t", "h"), ("th", "e</w>")]

    def bpe(tokens, pairs, **options):
        return models.BPE({token: i for i, token in enumerate(tokens)}, pairs, unk_token="<unk>", **options)

    return {
        "continuations with a prefix": build(bpe(prefixed, merges, continuing_subword_prefix="##"), None, words),
        "continuations with a prefix, unknown fused": build(bpe(prefixed, merges, continuing_subword_prefix="##", fuse_unk=True), None, words),
        "words with a suffix": build(bpe(suffixed, endings, end_of_word_suffix="</w>", fuse_unk=True), normalizers.Lowercase(), words, None, decoders.BPEDecoder()),
    }


def unigram_settings():
    """Settings of the Unigram model."""
    n, p = normalizers, pre_tokenizers
    proto = piece_model("spiece.model")
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    charsmap = n.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    cls, sep = ("<s>", 1), ("</s>", 2)
    specials = ["<unk>", "<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True)]
    template = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[cls, sep])

    def meta(scheme="always", split=True):
        return p.Metaspace(prepend_scheme=scheme, split=split)

    def unigram(normalizer, pre_tokenizer, post=template, decoder=decoders.Metaspace(), **options):
        return build(models.Unigram(vocab, unk_id=0, **options), normalizer, pre_tokenizer, post, decoder, specials, [AddedToken("<sep>", normalized=False)])

    old_spaces = [n.Strip(left=False, right=True), n.Replace(Regex(" {2,}"), "▁")]
    return {
        "XLM-R": unigram(charsmap, p.Sequence([p.WhitespaceSplit(), meta()])),
        "XLM-R, older": unigram(n.Sequence([charsmap] + old_spaces), meta()),
        "ALBERT": unigram(n.Sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), charsmap]),
                          p.Sequence([p.WhitespaceSplit(), meta()])),
        "ALBERT, older": unigram(n.Sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), charsmap,
                                             n.Replace(Regex(" {2,}"), " ")]), meta()),
        "DeBERTa": unigram(n.Sequence([n.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), n.NFC(), n.Strip(left=False, right=True)]), p.Sequence([p.Punctuation(), meta()])),
        "DeBERTa, older": unigram(n.Sequence([n.Lowercase(), n.Strip(), charsmap, n.Replace(Regex(" {2,}"), " ")]), p.Sequence([meta()])),
        "nmt by name": unigram(n.Sequence([n.Nmt(), n.NFKC(), n.Replace(Regex(" {2,}"), " ")]), meta()),
        "first word only": unigram(charsmap, meta("first")), "no prefix": unigram(None, meta("never"), decoder=decoders.Metaspace(prepend_scheme="never")),
        "one word": unigram(charsmap, meta(split=False)), "no pre-tokenizer": unigram(n.Sequence([charsmap, n.Prepend("▁"), n.Replace(" ", "▁")]), None),
        "prefix before every word": unigram(None, p.Sequence([p.WhitespaceSplit(), meta("first")])),
    }


def fallback_settings():
    """Settings of the SentencePiece BPE model."""
    from transformers.convert_slow_tokenizer import generate_merges
    n, p = normalizers, pre_tokenizers
    proto = piece_model("bpe.model")
    vocab = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    merges = generate_merges(vocab, [(piece.piece, piece.score) for piece in proto.pieces])
    post = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)])

    def llama(normalizer, pre_tokenizer, **options):
        model = models.BPE(vocab, merges, **(dict(unk_token="<unk>", fuse_unk=True, byte_fallback=True) | options))
        return build(model, normalizer, pre_tokenizer, post, decoder, ["<unk>", "<s>", "</s>"])

    first = p.Metaspace(prepend_scheme="first", split=False)
    return {
        "LLaMA": llama(None, first), "LLaMA, older": llama(n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), None),
        "unknown characters fused": llama(None, first, byte_fallback=False),
        "unknown characters alone": llama(None, first, byte_fallback=False, fuse_unk=False),
    }


def case(name, base_name, tokenizer):
    config = json.loads(tokenizer.to_str())
    for key in ("vocab", "merges") if base_name != "own" else ():
        config["model"].pop(key, None)  # the test puts the model's in
    text = json.dumps(config)
    for step in [config["normalizer"] or {}] + ((config["normalizer"] or {}).get("normalizers") or []):
        if "precompiled_charsmap" in step:
            text = text.replace(json.dumps(step["precompiled_charsmap"]), '"of the model"')
    texts = TEXTS + MORE_TEXTS
    entry = {"name": name, "base": base_name, "tokenizer": json.loads(text),
             "texts": [digest(rows([tokenizer.encode(t)])) for t in texts],
             "pairs": [digest(rows([tokenizer.encode(a, b)])) for a, b in PAIRS], "decoded": []}
    if tokenizer.decoder is not None:
        for t in texts[:30]:
            ids = tokenizer.encode(t).ids
            entry["decoded"].append([ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)])
    return entry


def train(data):
    """New models; the ones in the tree stay as they are unless asked for."""
    import sentencepiece
    text = str(data / "text/wikitext-2/valid.txt")
    (HERE / "bytes").mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train([text], trainers.BpeTrainer(vocab_size=1000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
                                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.model.save(str(HERE / "bytes"))
    common = dict(input=text, vocab_size=1000, num_threads=1, minloglevel=2)
    sentencepiece.SentencePieceTrainer.train(model_prefix=str(HERE / "spiece"), model_type="unigram", character_coverage=0.9995,
                                             user_defined_symbols=["<sep>"], **common)
    sentencepiece.SentencePieceTrainer.train(model_prefix=str(HERE / "bpe"), model_type="bpe", byte_fallback=True,
                                             normalization_rule_name="identity", remove_extra_whitespaces=False, **common)
    for name in ("spiece.vocab", "bpe.vocab"):
        (HERE / name).unlink()


def corpus_digests(data, tokenizers):
    out = []
    for name, tokenizer in tokenizers.items():
        for corpus, texts in corpora(data).items():
            if corpus.endswith("pairs") or (corpus == "code points" and name in ("ALBERT", "LLaMA")):
                continue
            block = base.BLOCK if corpus != "code points" else 64 * base.BLOCK
            values = [digest(rows(tokenizer.encode_batch(texts[i:i + block]))) for i in range(0, len(texts), block)]
            out.append({"setting": name, "corpus": corpus, "lines": len(texts), "block": block, "digests": values})
            print(name, corpus, len(texts), file=sys.stderr)
    return out


def main():
    data = Path(sys.argv[1])
    if "train" in sys.argv[2:]:
        train(data)
    settings = {"bytes": byte_settings(), "unigram": unigram_settings(), "fallback": fallback_settings(), "own": own_settings()}
    entries = [case(name, base_name, tokenizer) for base_name, group in settings.items() for name, tokenizer in group.items()]
    golden = {"texts": TEXTS + MORE_TEXTS, "pairs": PAIRS, "settings": entries}
    (HERE / "cases.json").write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=True) + "\n")
    whole = {"roberta-base": Tokenizer.from_file(str(data / "vocab/roberta-base/tokenizer.json"))}
    whole |= {name: settings["unigram"][name] for name in ("XLM-R", "ALBERT")} | {"LLaMA": settings["fallback"]["LLaMA"]}
    table = ",\n".join(json.dumps(entry) for entry in corpus_digests(data, whole))
    (HERE / "digests.json").write_text(f"[\n{table}\n]\n")


if __name__ == "__main__":
    main()
