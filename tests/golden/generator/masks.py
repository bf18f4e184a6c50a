"""One small encoder under many masks: how padding is spelled, and models whose padding must not be packed away.

The encoder is written like transformers 4.x (view, permute, matmul, divide by sqrt, add, softmax), whose
exports are the most common ONNX files of BERT models. A mask is a function of the inputs and the scores.
"""

import math

import torch
from torch import nn

from .common import Case, Output, random_ids, widen

VOCAB, HIDDEN, HEADS, INTERMEDIATE, POSITIONS = 60, 32, 4, 48, 40


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.dense = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.up, self.down = nn.Linear(HIDDEN, INTERMEDIATE), nn.Linear(INTERMEDIATE, HIDDEN)
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN, eps=1e-12), nn.LayerNorm(HIDDEN, eps=1e-12)

    @staticmethod
    def heads(x):
        return x.view(x.size()[:-1] + (HEADS, HIDDEN // HEADS)).permute(0, 2, 1, 3)

    def forward(self, x, mask_scores):
        query, key, value = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(HIDDEN // HEADS)
        context = torch.matmul(torch.softmax(mask_scores(scores), dim=-1), value)
        context = context.permute(0, 2, 1, 3).contiguous()
        x = self.norm1(self.dense(context.view(context.size()[:-2] + (HIDDEN,))) + x)
        return self.norm2(self.down(nn.functional.gelu(self.up(x))) + x)


class Encoder(nn.Module):
    """Subclasses say what their inputs are and how these act on the scores."""

    outputs = [Output("last_hidden_state", "tokens")]
    inputs = ["input_ids", "attention_mask"]

    def __init__(self, layers=2):
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCAB, HIDDEN), nn.Embedding(POSITIONS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.layers = nn.ModuleList([Layer() for _ in range(layers)])
        self.register_buffer("position_ids", torch.arange(POSITIONS).unsqueeze(0), persistent=False)

    def encode(self, input_ids, *mask_scores):
        """One mask function for all layers, or one per layer."""
        x = self.norm(self.words(input_ids) + self.positions(self.position_ids[:, : input_ids.size(1)]))
        for index, layer in enumerate(self.layers):
            x = layer(x, mask_scores[min(index, len(mask_scores) - 1)])
        return x

    def forward(self, input_ids, attention_mask):
        return self.encode(input_ids, lambda scores: scores + self.bias(input_ids, attention_mask))

    def bias(self, input_ids, attention_mask):
        """The mask of transformers up to 4.17, and the default of the subclasses below."""
        return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0


class FinfoMin(Encoder):
    def bias(self, input_ids, attention_mask):
        mask = attention_mask[:, None, None, :].to(torch.float32)
        return (1.0 - mask) * torch.finfo(torch.float32).min


class ExpandInvert(Encoder):
    """_expand_mask of transformers 4.20 to 4.40: expanded to [batch, 1, seq, seq], inverted, filled."""

    def bias(self, input_ids, attention_mask):
        batch, seq = attention_mask.size()
        inverted = 1.0 - attention_mask[:, None, None, :].expand(batch, 1, seq, seq).to(torch.float32)
        return inverted.masked_fill(inverted.to(torch.bool), torch.finfo(torch.float32).min)


class MinusInfinity(Encoder):
    def forward(self, input_ids, attention_mask):
        padding = (attention_mask == 0)[:, None, None, :]
        return self.encode(input_ids, lambda scores: scores.masked_fill(padding, float("-inf")))


class WhereScalar(Encoder):
    """DistilBERT of transformers 4.x: the mask viewed, expanded as the scores, filled with finfo.min."""

    def forward(self, input_ids, attention_mask):
        def fill(scores):
            mask = (attention_mask == 0).view(attention_mask.size(0), 1, 1, attention_mask.size(1)).expand_as(scores)
            return scores.masked_fill(mask, torch.finfo(torch.float32).min)

        return self.encode(input_ids, fill)


class IdsNotPad(Encoder):
    inputs = ["input_ids"]

    def forward(self, input_ids):
        return self.encode(input_ids, lambda scores: scores + self.bias(input_ids, input_ids != 0))


class IdsPositiveRepeat(Encoder):
    """The BERT-pytorch tutorial: ids > 0 repeated to a square, masked_fill(mask == 0, -1e9)."""

    inputs = ["input_ids"]

    def forward(self, input_ids):
        mask = (input_ids > 0).unsqueeze(1).repeat(1, input_ids.size(1), 1).unsqueeze(1)
        return self.encode(input_ids, lambda scores: scores.masked_fill(mask == 0, -1e9))


class Lengths(Encoder):
    inputs = ["input_ids", "lengths"]

    def forward(self, input_ids, lengths):
        valid = torch.arange(input_ids.size(1))[None, :] < lengths[:, None]
        return self.encode(input_ids, lambda scores: scores + self.bias(input_ids, valid))


class LengthsSdpa(Lengths):
    """A boolean mask handed to scaled_dot_product_attention."""

    def forward(self, input_ids, lengths):
        valid = (torch.arange(input_ids.size(1))[None, :] < lengths[:, None])[:, None, None, :]
        x = self.norm(self.words(input_ids) + self.positions(self.position_ids[:, : input_ids.size(1)]))
        for layer in self.layers:
            query, key, value = layer.heads(layer.query(x)), layer.heads(layer.key(x)), layer.heads(layer.value(x))
            context = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=valid)
            x = layer.norm1(layer.dense(context.transpose(1, 2).flatten(2)) + x)
            x = layer.norm2(layer.down(nn.functional.gelu(layer.up(x))) + x)
        return x


class OuterProduct(Encoder):
    """[batch, seq, seq] by an outer product: rows of padding are masked everywhere, so additive, not -inf."""

    def bias(self, input_ids, attention_mask):
        square = attention_mask[:, :, None] * attention_mask[:, None, :]
        return (1.0 - square[:, None, :, :].to(torch.float32)) * -10000.0


class FloatMask(Encoder):
    """A float mask needs no Cast."""

    def bias(self, input_ids, attention_mask):
        return (1.0 - attention_mask.unsqueeze(1).unsqueeze(2)) * -10000.0


class BoolMask(Encoder):
    def bias(self, input_ids, attention_mask):
        zero = torch.zeros((), dtype=torch.float32)
        return torch.where(attention_mask[:, None, None, :], zero, torch.finfo(torch.float32).min)


class LogicalNot(MinusInfinity):
    def forward(self, input_ids, attention_mask):
        padding = ~attention_mask[:, None, None, :]
        return self.encode(input_ids, lambda scores: scores.masked_fill(padding, -1e9))


class MaskedMax(Encoder):
    """Max pooling of sentence-transformers: padding filled with -1e9 first, hence packable."""

    outputs = [Output("sentence_embedding", "sequence")]

    def forward(self, input_ids, attention_mask):
        tokens = super().forward(input_ids, attention_mask)
        expanded = attention_mask.unsqueeze(-1).expand(tokens.size()).to(tokens.dtype)
        return torch.max(tokens.masked_fill(expanded == 0, -1e9), 1)[0]


class CallerBias(Encoder):
    inputs = ["input_ids", "attention_bias"]

    def forward(self, input_ids, attention_bias):
        return self.encode(input_ids, lambda scores: scores + attention_bias)


class CallerSquare(Encoder):
    inputs = ["input_ids", "square_mask"]

    def forward(self, input_ids, square_mask):
        bias = (1.0 - square_mask[:, None, :, :].to(torch.float32)) * torch.finfo(torch.float32).min
        return self.encode(input_ids, lambda scores: scores + bias)


class MaxAll(Encoder):
    outputs = [Output("pooled", "sequence")]

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask).max(dim=1).values


class MeanAll(Encoder):
    outputs = [Output("pooled", "sequence")]

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask).mean(dim=1)


class LastPosition(Encoder):
    outputs = [Output("pooled", "sequence")]

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask)[:, -1]


class SoftmaxOverPositions(Encoder):
    outputs = [Output("probabilities", "tokens")]

    def forward(self, input_ids, attention_mask):
        return torch.softmax(super().forward(input_ids, attention_mask)[..., 0], dim=1)


class Neighbours(Encoder):
    """Every token plus the one after it, whether padding or not."""

    def forward(self, input_ids, attention_mask):
        tokens = super().forward(input_ids, attention_mask)
        return tokens + nn.functional.pad(tokens[:, 1:], (0, 0, 0, 1))


class UnmaskedLayer(Encoder):
    """The second layer forgets the mask."""

    def forward(self, input_ids, attention_mask):
        bias = self.bias(input_ids, attention_mask)
        return self.encode(input_ids, lambda scores: scores + bias, lambda scores: scores)


class Causal(Encoder):
    def forward(self, input_ids, attention_mask):
        seq = input_ids.size(1)
        causal = torch.ones(seq, seq, dtype=torch.bool).tril()
        allowed = causal[None, None] & (attention_mask != 0)[:, None, None, :]
        # Not -inf: under left padding the first rows see nothing.
        return self.encode(input_ids, lambda scores: scores.masked_fill(~allowed, -10000.0))


def input_maker(names, dtype):
    def make(batch, seq, valid, pattern, generator):
        ids = random_ids(valid, pattern, 0, generator, VOCAB)
        square = torch.rand(batch, seq, seq, generator=generator) < 0.6
        bias = -3 * torch.rand(batch, 1, 1, seq, generator=generator)
        made = {
            "input_ids": ids,
            "attention_mask": valid.to(dtype),
            "lengths": valid.sum(1),
            "square_mask": (square | torch.eye(seq, dtype=torch.bool)).to(torch.int64),
            "attention_bias": bias.masked_fill(~valid[:, None, None, :], -10000.0),
        }
        return {name: made[name] for name in names}

    return make


RIGHT = [(1, 1, "ones"), (1, 7, "ones"), (3, 13, "right"), (2, 32, "right")]
PADDED = [*RIGHT[:3], (2, 32, "left")]  # no holes: their ids are not pad ids
ONES = [(1, 1, "ones"), (1, 7, "ones"), (3, 13, "ones")]
MIXES = "positions of padding reach the output: "

# name, model, exporter, opset, then whatever differs from the defaults
SPELLINGS = [
    ("minus10000", Encoder, "torchscript", 11, {}),
    ("minus10000", Encoder, "dynamo", 18, {}),
    ("finfo-min", FinfoMin, "torchscript", 14, {}),
    ("finfo-min", FinfoMin, "dynamo", 20, {}),
    ("expand-invert", ExpandInvert, "torchscript", 14, {}),
    ("minus-inf", MinusInfinity, "torchscript", 13, {}),
    ("minus-inf", MinusInfinity, "dynamo", 23, {}),
    ("expand-as-scores", WhereScalar, "torchscript", 12, {}),
    ("ids-not-pad", IdsNotPad, "torchscript", 13, {"shapes": PADDED}),
    ("ids-not-pad", IdsNotPad, "dynamo", 18, {"shapes": PADDED}),
    ("ids-positive-repeat", IdsPositiveRepeat, "torchscript", 17, {"shapes": PADDED}),
    ("lengths", Lengths, "torchscript", 14, {"shapes": RIGHT}),
    ("lengths", Lengths, "dynamo", 20, {"shapes": RIGHT}),
    ("lengths-sdpa", LengthsSdpa, "dynamo", 23, {"shapes": RIGHT, "attention": "sdpa", "recorded_by": "pytorch"}),
    ("lengths-sdpa", LengthsSdpa, "torchscript", 17, {"shapes": RIGHT, "attention": "sdpa"}),
    ("outer-product", OuterProduct, "torchscript", 14, {}),
    ("outer-product", OuterProduct, "dynamo", 21, {}),
    ("float-input", FloatMask, "torchscript", 14, {"dtype": torch.float32}),
    ("int32-input", Encoder, "torchscript", 17, {"dtype": torch.int32}),
    ("bool-input", BoolMask, "dynamo", 18, {"dtype": torch.bool}),
    ("bool-input-not", LogicalNot, "torchscript", 16, {"dtype": torch.bool}),
    ("masked-max-pooling", MaskedMax, "torchscript", 14, {}),
    ("refuse-caller-bias", CallerBias, "torchscript", 14, {"refused": "the caller gives the bias: any value can come"}),
    ("refuse-caller-bias", CallerBias, "dynamo", 20, {"refused": "the caller gives the bias: any value can come"}),
    (
        "refuse-caller-square", CallerSquare, "torchscript", 14,
        {"refused": "the caller gives a [batch, seq, seq] mask: not necessarily padding", "shapes": ONES},
    ),
    ("refuse-max-all", MaxAll, "torchscript", 17, {"refused": MIXES + "max over all"}),
    ("refuse-mean-all", MeanAll, "dynamo", 18, {"refused": MIXES + "mean over all"}),
    ("refuse-last-position", LastPosition, "torchscript", 14, {"null": "the row at the last position may be kept as a query, where the mask hides it as a key"}),
    ("refuse-softmax-positions", SoftmaxOverPositions, "torchscript", 13, {"refused": MIXES + "softmax over all"}),
    ("refuse-neighbours", Neighbours, "torchscript", 14, {"refused": MIXES + "every token reads its neighbour"}),
    ("refuse-unmasked-layer", UnmaskedLayer, "dynamo", 20, {"refused": MIXES + "the second layer has no mask"}),
    ("causal", Causal, "torchscript", 14, {"null": "causal and padding together: packing or refusing are both right"}),
    ("causal", Causal, "dynamo", 18, {"null": "causal and padding together: packing or refusing are both right"}),
]  # fmt: skip
DIMS = {"lengths": ["batch"], "square_mask": ["batch", "seq", "seq"], "attention_bias": ["batch", 1, 1, "seq"]}


def cases():
    for seed, (name, model, exporter, opset, options) in enumerate(SPELLINGS):
        # Two layers share one mask; the second export of a spelling, and most refused ones, make do with one.
        again = name == SPELLINGS[seed - 1][0] or "refused" in options
        layers = 1 if again and model is not UnmaskedLayer else 2
        packable = False if "refused" in options else None if "null" in options else True
        yield Case(
            name=f"mask-{name}-{'ts' if exporter == 'torchscript' else exporter}{opset}",
            model=widen(model(layers), seed),
            layers=layers,
            outputs=model.outputs,
            make_inputs=input_maker(model.inputs, options.get("dtype", torch.int64)),
            architecture="legacy_bert",
            exporter=exporter,
            opset=opset,
            attention=options.get("attention", "eager"),
            packable=packable,
            reason=options.get("refused") or options.get("null") or "",
            shapes=options.get("shapes"),
            dims=DIMS,
            recorded_by=options.get("recorded_by", "onnxruntime"),
            notes="Attention with a mask [batch, 1, 1, seq]: ONNX Runtime wants [..., seq, seq]" if "recorded_by" in options else "",
        )
