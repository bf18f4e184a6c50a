"""BERT as tutorials write it by hand in PyTorch, and one built on torch.nn.TransformerEncoder."""

import math

import torch
from torch import nn

from .common import Case, Output, random_ids, widen

VOCAB, HIDDEN, HEADS, FEED_FORWARD, POSITIONS, HEAD_SIZE = 60, 32, 4, 48, 40, 8


def gelu_erf(x):
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


def get_attn_pad_mask(seq_q, seq_k):
    batch, length_q = seq_q.size()
    batch, length_k = seq_k.size()
    return seq_k.eq(0).unsqueeze(1).expand(batch, length_q, length_k)


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok_embed, self.pos_embed = nn.Embedding(VOCAB, HIDDEN), nn.Embedding(POSITIONS, HIDDEN)
        self.seg_embed, self.norm = nn.Embedding(2, HIDDEN), nn.LayerNorm(HIDDEN)

    def forward(self, x, seg):
        pos = torch.arange(x.size(1), dtype=torch.long, device=x.device)
        pos = pos.unsqueeze(0).expand_as(x)
        return self.norm(self.tok_embed(x) + self.pos_embed(pos) + self.seg_embed(seg))


class ScaledDotProductAttention(nn.Module):
    def forward(self, q, k, v, attn_mask):
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(HEAD_SIZE)
        scores.masked_fill_(attn_mask, -1e9)
        attn = nn.Softmax(dim=-1)(scores)
        return torch.matmul(attn, v), attn


class MultiHeadAttention(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (nn.Linear(HIDDEN, HIDDEN, bias=bias) for _ in range(3))
        self.linear, self.norm = nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN)
        self.attention = ScaledDotProductAttention()

    def forward(self, q, k, v, attn_mask):
        residual, batch = q, q.size(0)
        q_s = self.W_Q(q).view(batch, -1, HEADS, HEAD_SIZE).transpose(1, 2)
        k_s = self.W_K(k).view(batch, -1, HEADS, HEAD_SIZE).transpose(1, 2)
        v_s = self.W_V(v).view(batch, -1, HEADS, HEAD_SIZE).transpose(1, 2)
        attn_mask = attn_mask.unsqueeze(1).repeat(1, HEADS, 1, 1)
        context, _ = self.attention(q_s, k_s, v_s, attn_mask)
        context = context.transpose(1, 2).contiguous().view(batch, -1, HEADS * HEAD_SIZE)
        return self.norm(self.linear(context) + residual)


class EncoderLayer(nn.Module):
    def __init__(self, gelu, bias):
        super().__init__()
        self.enc_self_attn, self.gelu = MultiHeadAttention(bias), gelu
        self.fc1, self.fc2 = nn.Linear(HIDDEN, FEED_FORWARD), nn.Linear(FEED_FORWARD, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, x, attn_mask):
        x = self.enc_self_attn(x, x, x, attn_mask)
        return self.norm(x + self.fc2(self.gelu(self.fc1(x))))


class BERT(nn.Module):
    outputs = [Output("logits_lm", "tokens"), Output("logits_clsf", "first")]
    inputs = ["input_ids", "segment_ids"]

    def __init__(self, gelu=gelu_erf, bias=True):
        super().__init__()
        self.embedding, self.gelu = Embedding(), gelu
        self.layers = nn.ModuleList([EncoderLayer(gelu, bias) for _ in range(2)])
        self.fc, self.activ1 = nn.Linear(HIDDEN, HIDDEN), nn.Tanh()
        self.linear, self.norm = nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN)
        self.classifier = nn.Linear(HIDDEN, 2)
        self.decoder = nn.Linear(HIDDEN, VOCAB, bias=False)
        self.decoder.weight = self.embedding.tok_embed.weight
        self.decoder_bias = nn.Parameter(torch.zeros(VOCAB))

    def encode(self, input_ids, segment_ids):
        x = self.embedding(input_ids, segment_ids)
        attn_mask = get_attn_pad_mask(input_ids, input_ids)
        for layer in self.layers:
            x = layer(x, attn_mask)
        return x

    def language_model(self, x):
        return self.decoder(self.norm(self.gelu(self.linear(x)))) + self.decoder_bias

    def forward(self, input_ids, segment_ids):
        x = self.encode(input_ids, segment_ids)
        return self.language_model(x), self.classifier(self.activ1(self.fc(x[:, 0])))


class BERTMaskedPositions(BERT):
    """The language model reads only the positions that the caller lists."""

    outputs = [Output("logits_lm", "sequence"), Output("logits_clsf", "first")]
    inputs = ["input_ids", "segment_ids", "masked_pos"]

    def forward(self, input_ids, segment_ids, masked_pos):
        x = self.encode(input_ids, segment_ids)
        gathered = torch.gather(x, 1, masked_pos[:, :, None].expand(-1, -1, x.size(-1)))
        return self.language_model(gathered), self.classifier(self.activ1(self.fc(x[:, 0])))


class TransformerEncoder(nn.Module):
    """torch.nn's own layers: packed in_proj, batch and sequence swapped inside."""

    outputs = [Output("last_hidden_state", "tokens")]
    inputs = ["input_ids", "attention_mask"]

    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCAB, HIDDEN), nn.Embedding(POSITIONS, HIDDEN)
        layer = nn.TransformerEncoderLayer(HIDDEN, HEADS, FEED_FORWARD, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.positions(torch.arange(input_ids.size(1)))
        return self.encoder(x, src_key_padding_mask=attention_mask == 0)


def input_maker(names):
    def make(batch, seq, valid, pattern, generator):
        ids = random_ids(valid, pattern, 0, generator, VOCAB)
        # Two positions per sequence that are not padding, wherever the padding is.
        positions = torch.multinomial(valid.float(), 2, replacement=True, generator=generator)
        made = {
            "input_ids": ids,
            "segment_ids": torch.randint(0, 2, ids.shape, generator=generator),
            "masked_pos": positions,
            "attention_mask": valid.to(torch.int64),
        }
        return {name: made[name] for name in names}

    return make


PADDED = [(1, 1, "ones"), (1, 7, "ones"), (3, 13, "right"), (2, 32, "left")]  # no holes: their ids are not pad ids

# The TorchScript exporter writes the traced length into the Reshape nodes of nn.MultiheadAttention.
STATIC = "static axes: the mask allows packing, but the shape is written into the graph"

# name, model, exporter, opset, whatever differs from the defaults
VARIANTS = [
    ("erf", BERT, "torchscript", 11, {}),
    ("tanh", lambda: BERT(gelu_tanh), "torchscript", 17, {}),
    ("erf", BERT, "torchscript", 14, {"folding": False}),
    ("erf", BERT, "dynamo", 18, {}),
    ("tanh", lambda: BERT(gelu_tanh), "dynamo", 23, {}),
    ("tanh", lambda: BERT(gelu_tanh), "dynamo", 20, {"folding": False}),
    ("no-bias", lambda: BERT(bias=False), "torchscript", 13, {"notes": "Q, K and V without bias"}),
    (
        "masked-positions", BERTMaskedPositions, "torchscript", 16,
        {"packable": None, "reason": "masked_pos indexes padded rows: packing needs a translation of the indices"},
    ),
    ("nn-encoder", TransformerEncoder, "torchscript", 14, {"axes": "static", "packable": None, "reason": STATIC}),
    ("nn-encoder", TransformerEncoder, "dynamo", 18, {}),
]  # fmt: skip


def cases():
    # The fused inference kernel of nn.TransformerEncoder has no ONNX form.
    torch.backends.mha.set_fastpath_enabled(False)
    for seed, (name, make, exporter, opset, options) in enumerate(VARIANTS):
        model = widen(make(), seed)
        own = isinstance(model, BERT)
        short = "ts" if exporter == "torchscript" else exporter
        yield Case(
            name=f"tutorial-{name}-{short}{opset}" + ("" if options.get("folding", True) else "-nofold"),
            model=model,
            outputs=model.outputs,
            make_inputs=input_maker(model.inputs),
            architecture="tutorial_bert" if own else "nn_transformer_encoder",
            head="pretraining" if own else "encoder",
            exporter=exporter,
            opset=opset,
            shapes=PADDED if own else None,
            # The hand-written GELUs (one more in the language model head) are no call of torch's gelu. The
            # torch.nn encoder has no LayerNorm behind the embeddings.
            expected={"gelu": 3, "layer_norm": 6} if own else {"gelu": 2, "layer_norm": 4},
            dims={"masked_pos": ["batch", "masked"]},
            attention="eager" if own else "sdpa",
            **options,
        )
