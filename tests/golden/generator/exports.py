"""Hugging Face models through both exporters: all pairs of the options, not their full product."""

import itertools
import random
import zlib

import torch
import transformers

from .common import TRACED_SHAPE, Case, Output, make_input_maker, widen

TINY = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
DISTILBERT = {"vocab_size": 120, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 66}
# name: (class prefix, config arguments, pad id, number of token types)
ARCHITECTURES = {
    "bert": ("Bert", TINY, 0, 2),
    "roberta": ("Roberta", {**TINY, "type_vocab_size": 1, "pad_token_id": 1}, 1, 1),
    "distilbert": ("DistilBert", DISTILBERT, 0, 0),
    # The embeddings narrower than the layers, as in the published ELECTRA: a projection sits between them.
    "electra": ("Electra", {**TINY, "embedding_size": 16}, 0, 2),
    "mpnet": ("MPNet", {**TINY, "pad_token_id": 1}, 1, 0),
    "minilm": ("Bert", TINY, 0, 2),
}
HEADS = {
    "encoder": "Model",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
    "masked_lm": "ForMaskedLM",
    "pretraining": "ForPreTraining",
    "next_sentence": "ForNextSentencePrediction",
    "mean_pooling": "Model",
}
SHORT_HEADS = {
    "encoder": "enc", "sequence_classification": "seqcls", "token_classification": "tokcls",
    "question_answering": "qa", "masked_lm": "mlm", "pretraining": "pretrain", "next_sentence": "nsp",
    "mean_pooling": "pool",
}  # fmt: skip

FACTORS = {
    "architecture": list(ARCHITECTURES),
    "head": list(HEADS),
    "exporter": ["torchscript", "dynamo"],
    "mask": [True, False],
    "types": [True, False],
    "positions": [False, True],
    "attention": ["sdpa", "eager"],
    "axes": ["dynamic", "static"],
    "folding": [True, False],
    "opset": ["oldest", "middle", "newest"],
}
# What users export most: always present, whatever the pairs need.
ALWAYS = [
    ("bert", "torchscript", "sdpa", 14),
    ("bert", "torchscript", "eager", 17),
    ("bert", "dynamo", "sdpa", 18),
    ("bert", "dynamo", "eager", 20),
    ("bert", "dynamo", "sdpa", 23),  # the oldest opset with an Attention node
    ("bert", "torchscript", "eager", 10),  # the oldest and the newest that the exporters accept
    ("bert", "dynamo", "eager", 17),
    ("bert", "dynamo", "sdpa", 25),
    ("bert", "torchscript", "sdpa", 16, False),  # without constant folding
    ("bert", "dynamo", "eager", 22, False),
    ("roberta", "torchscript", "sdpa", 14),
    ("roberta", "dynamo", "eager", 18),
    ("distilbert", "torchscript", "eager", 11),
    ("distilbert", "dynamo", "sdpa", 20),
    ("electra", "torchscript", "eager", 14),
    ("electra", "dynamo", "sdpa", 23),
    ("mpnet", "torchscript", "eager", 14),
    ("mpnet", "dynamo", "eager", 18),
    ("minilm", "torchscript", "eager", 11),
    ("minilm", "dynamo", "sdpa", 20),
    ("minilm", "dynamo", "sdpa", 18, False),
]
# Without a mask there is no padding.
UNMASKED_SHAPES = {
    "dynamic": [(batch, seq, "ones") for batch, seq in ((1, 1), (1, 7), (3, 13), (2, 32))],
    "static": [(*TRACED_SHAPE, "ones")],
}
# Each level of the opset factor walks through several opsets, so that the pairs stay few.
OPSETS = {
    ("torchscript", "oldest"): [11, 12, 13],
    ("torchscript", "middle"): [14, 16, 17, 15],
    ("torchscript", "newest"): [20, 18, 19],
    ("dynamo", "oldest"): [18, 19],
    ("dynamo", "middle"): [20, 21, 22],
    ("dynamo", "newest"): [23, 24],
}


def allowed(choice):
    """Combinations that exist. Called with partial choices: an absent key forbids nothing."""
    architecture, head = choice.get("architecture"), choice.get("head")
    if (architecture == "minilm") != (head == "mean_pooling") and architecture and head:
        return False
    if head == "pretraining" and architecture not in ("bert", "electra", None):
        return False
    if head == "next_sentence" and architecture not in ("bert", None):
        return False
    if choice.get("types") and architecture in ("distilbert", "mpnet"):
        return False
    # Mean pooling is over the mask.
    if choice.get("mask") is False and (architecture == "minilm" or head == "mean_pooling"):
        return False
    # transformers has no sdpa variant of MPNet's attention with relative position bias.
    if architecture == "mpnet" and choice.get("attention") == "sdpa":
        return False
    # scaled_dot_product_attention reaches ONNX in opset 14 of the TorchScript exporter.
    return not (
        choice.get("exporter") == "torchscript" and choice.get("attention") == "sdpa" and choice.get("opset") == "oldest"
    )


def holds(row, pair):
    return all(row[name] == value for name, value in pair)


def pairwise(factors, given, seed=7):
    """Greedy all-pairs: every step takes, of some random completions, the one with most uncovered pairs.

    The pairs that the given rows hold are covered already.
    """
    rng = random.Random(seed)
    open_pairs = set()
    for (a, values_a), (b, values_b) in itertools.combinations(factors.items(), 2):
        open_pairs |= {((a, x), (b, y)) for x in values_a for y in values_b if allowed({a: x, b: y})}
    open_pairs = {pair for pair in open_pairs if not any(holds(row, pair) for row in given)}
    rows = []
    while open_pairs:
        best, best_gain = None, 0
        for _ in range(200):
            row = dict(rng.choice(sorted(open_pairs, key=repr)))
            for name in rng.sample(list(factors), len(factors)):
                if name not in row:
                    options = [value for value in factors[name] if allowed({**row, name: value})]
                    if not options:
                        break
                    row[name] = rng.choice(options)
            if len(row) < len(factors) or not allowed(row):
                continue
            covered = {pair for pair in open_pairs if holds(row, pair)}
            if len(covered) > best_gain:
                best, best_gain, best_covered = row, len(covered), covered
        if best is None:
            raise RuntimeError(f"pairs that no combination holds: {sorted(open_pairs, key=repr)}")
        open_pairs -= best_covered
        rows.append(best)
    return rows


class MeanPooling(torch.nn.Module):
    """The two modules that sentence-transformers puts behind the encoder, with its spelling."""

    def __init__(self, encoder, normalize=True):
        super().__init__()
        self.encoder, self.normalize = encoder, normalize

    def forward(self, input_ids, attention_mask, token_type_ids=None, position_ids=None):
        tokens = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, position_ids=position_ids
        )[0]
        expanded = attention_mask.unsqueeze(-1).expand(tokens.size()).to(tokens.dtype)
        pooled = torch.sum(tokens * expanded, 1) / torch.clamp(expanded.sum(1), min=1e-9)
        return torch.nn.functional.normalize(pooled, p=2, dim=1) if self.normalize else pooled


def make_config(architecture, **overrides):
    prefix, arguments, _, _ = ARCHITECTURES[architecture]
    return getattr(transformers, prefix + "Config")(**{**arguments, **overrides})


def make_model(architecture, head, attention="eager", seed=0, **overrides):
    """A tiny random model. Deterministic: the weights depend on the seed only."""
    prefix = ARCHITECTURES[architecture][0]
    if head == "token_classification":
        overrides["num_labels"] = 5
    elif head == "sequence_classification":
        overrides["num_labels"] = 3
    if "layers" in overrides:
        overrides["n_layers" if architecture == "distilbert" else "num_hidden_layers"] = overrides.pop("layers")
    config = make_config(architecture, **overrides)
    # Tuples rather than dictionaries: what the TorchScript exporter wants.
    config.return_dict = False
    config._attn_implementation = attention
    model = getattr(transformers, prefix + HEADS[head])(config)
    widen(model, seed)
    return MeanPooling(model) if head == "mean_pooling" else model


def outputs_of(architecture, head):
    if head == "mean_pooling":
        return [Output("sentence_embedding", "sequence")]
    if head == "encoder":
        pooler = [] if architecture in ("distilbert", "electra", "modernbert", "deberta-v2") else [Output("pooler_output", "first")]
        return [Output("last_hidden_state", "tokens"), *pooler]
    if head == "question_answering":
        return [Output("start_logits", "tokens"), Output("end_logits", "tokens")]
    if head == "pretraining" and architecture == "bert":
        return [Output("prediction_logits", "tokens"), Output("seq_relationship_logits", "first")]
    per_sequence = head in ("sequence_classification", "next_sentence", "image_classification")
    return [Output("logits", "first" if per_sequence else "tokens")]


def make_case(choice):
    architecture, head, exporter = choice["architecture"], choice["head"], choice["exporter"]
    _, _, pad_id, type_vocab = ARCHITECTURES[architecture]
    names = ["input_ids"]
    names += ["attention_mask"] * choice["mask"] + ["token_type_ids"] * choice["types"]
    names += ["position_ids"] * choice["positions"]
    flags = ["mask"] * choice["mask"] + ["types"] * choice["types"] + ["pos"] * choice["positions"]
    flags += [choice["attention"], {"dynamic": "dyn", "static": "static"}[choice["axes"]]]
    flags += [] if choice["folding"] else ["nofold"]
    short = {"torchscript": "ts", "dynamo": "dynamo"}[exporter]
    packable, reason = True, ""
    if not choice["mask"]:
        packable, reason = None, "no mask: every position counts, there is nothing to pack away"
    elif choice["axes"] == "static":
        packable, reason = None, "static axes: the mask allows packing, but the shape is written into the graph"
    name = "-".join([architecture, SHORT_HEADS[head], f"{short}{choice['opset']}", *flags])
    return Case(
        name=name,
        model=make_model(architecture, head, choice["attention"], zlib.crc32(name.encode()), layers=choice["layers"]),
        outputs=outputs_of(architecture, head),
        make_inputs=make_input_maker(names, pad_id, max(1, type_vocab), first_position=pad_id + 1 if pad_id else 0),
        architecture=architecture,
        head=head,
        exporter=exporter,
        opset=choice["opset"],
        attention=choice["attention"],
        axes=choice["axes"],
        folding=choice["folding"],
        packable=packable,
        reason=reason,
        layers=choice["layers"],
        shapes=None if choice["mask"] else UNMASKED_SHAPES[choice["axes"]],
        notes="relative position bias added to the scores" if architecture == "mpnet" else "",
    )


def always_rows():
    usual = {"mask": True, "positions": False, "axes": "dynamic", "layers": 2}
    for architecture, exporter, attention, opset, *folding in ALWAYS:
        head = "mean_pooling" if architecture == "minilm" else "encoder"
        types = architecture in ("bert", "electra", "minilm")
        names = {"architecture": architecture, "exporter": exporter, "attention": attention, "opset": opset}
        names["folding"] = not folding
        yield {**usual, **names, "head": head, "types": types}


def level_of(row):
    """The opset factor's level that a concrete opset belongs to; opsets beyond the lists count as the nearest."""
    listed = {level: opsets for (exporter, level), opsets in OPSETS.items() if exporter == row["exporter"]}
    return min(listed, key=lambda level: min(abs(row["opset"] - opset) for opset in listed[level]))


def export_choices():
    """The usual rows and those that complete the pairs, these with one or two layers (small files); BERT first."""
    always = list(always_rows())
    rows = pairwise(FACTORS, [{**row, "opset": level_of(row)} for row in always])
    walked = dict.fromkeys(OPSETS, 0)
    for row in rows:
        level = (row["exporter"], row["opset"])
        row["layers"] = 1 + walked[level] % 2
        row["opset"] = OPSETS[level][walked[level] % len(OPSETS[level])]
        walked[level] += 1
    return sorted(always + rows, key=lambda row: list(ARCHITECTURES).index(row["architecture"]))


def cases():
    for choice in export_choices():
        yield make_case(choice)
