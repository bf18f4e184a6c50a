"""Tiny tokenizers of the kinds that the checkpoints come with: WordPiece, byte-level BPE, Unigram."""

import string

import transformers

TEXTS = ["Hello, world!", "the cats are playing", "Über naïve café 42", "x"]
WORDS = ["the", "cat", "dog", "hello", "world", "are", "play", "is", "of", "cafe", "naive"]


def wordpieces(special):
    letters = list(string.ascii_lowercase + string.digits)
    pieces = special + letters + WORDS + [",", ".", "!", "?"] + ["##" + letter for letter in string.ascii_lowercase]
    pieces += ["##s", "##ing", "##er"]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def byte_pairs():
    """All 256 bytes in GPT-2's spelling, and some merges."""
    shown = [chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256))]
    shown += [chr(256 + n) for n in range(256 - len(shown))]
    merges = [("h", "e"), ("Ġ", "t"), ("Ġt", "he"), ("l", "l"), ("i", "n"), ("in", "g"), ("Ġ", "w"), ("he", "ll")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *shown, *(a + b for a, b in merges)]
    return {piece: index for index, piece in enumerate(pieces)}, merges


def unigrams():
    """Scores fall with the index; longer pieces score higher, so that the search has something to decide."""
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = ["▁", "▁the", "▁cat", "▁play", "ing", "s", "▁are", "▁he", "llo", "▁world", "▁hello", ",", "!", "é", "ï"]
    pieces += [c for c in string.ascii_lowercase + "HU" + string.digits if c not in pieces]
    return special + [(piece, -2.0 - 0.1 * index + 0.7 * len(piece)) for index, piece in enumerate(pieces)]


def make_tokenizer(architecture, folder):
    if architecture == "roberta":
        vocab, merges = byte_pairs()
        tokenizer = transformers.RobertaTokenizer(vocab=vocab, merges=merges)
    elif architecture == "xlmr":
        tokenizer = transformers.XLMRobertaTokenizer(vocab=unigrams())
    elif architecture == "mpnet":
        vocab = wordpieces(["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"])
        tokenizer = transformers.MPNetTokenizer(vocab=vocab)
    else:
        vocab = wordpieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        tokenizer = transformers.BertTokenizer(vocab=vocab)
        # The older of the two formats next to tokenizer.json: one piece per line.
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return tokenizer
