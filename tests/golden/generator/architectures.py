"""Transformers beyond the BERT family: RMS norm, rotary and relative positions, causal and local attention."""

import zlib

import torch
import transformers

from .common import Case, Output, make_input_maker, widen

VOCAB, POSITIONS = 120, 66
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SIZES = {**LAYERS, "vocab_size": VOCAB}
IMAGE = {**LAYERS, "image_size": 16, "patch_size": 8}
TOKENS = [Output("last_hidden_state", "tokens")]

ALBERT = {**SIZES, "embedding_size": 16, "max_position_embeddings": POSITIONS}
DEBERTA = {
    **SIZES, "max_position_embeddings": POSITIONS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
    "type_vocab_size": 0,
}  # fmt: skip
DEBERTA_V1 = {**SIZES, "max_position_embeddings": POSITIONS, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
MOBILEBERT = {
    **SIZES, "max_position_embeddings": POSITIONS, "embedding_size": 16, "true_hidden_size": 16,
    "intra_bottleneck_size": 16, "num_feedforward_networks": 2, "num_attention_heads": 2,
}  # fmt: skip
MODERNBERT = {
    **SIZES, "num_hidden_layers": 3, "max_position_embeddings": POSITIONS, "local_attention": 8,
    "global_attn_every_n_layers": 2, "pad_token_id": 0, "reference_compile": False,
}  # fmt: skip
NOMIC = {**SIZES, "max_position_embeddings": POSITIONS, "pad_token_id": 0, "type_vocab_size": 2}
T5 = {
    "vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16,
}  # fmt: skip
T5_GATED = {**T5, "feed_forward_proj": "gated-gelu"}
BART = {
    "vocab_size": VOCAB, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "max_position_embeddings": POSITIONS, "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 32,
}  # fmt: skip
WHISPER = {
    **BART, "num_mel_bins": 8, "max_source_positions": 12, "max_target_positions": 8, "encoder_layers": 2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
WHISPER.pop("max_position_embeddings")
GPT2 = {"vocab_size": VOCAB, "n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 4, "use_cache": False}
LLAMA = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": POSITIONS, "use_cache": False, "pad_token_id": 0}
ESM = {
    **SIZES, "max_position_embeddings": POSITIONS, "position_embedding_type": "rotary", "pad_token_id": 0,
    "mask_token_id": 4, "token_dropout": True,
}  # fmt: skip
ROFORMER = {**SIZES, "max_position_embeddings": POSITIONS, "embedding_size": 16, "pad_token_id": 0}
QWEN3 = {**LLAMA, "head_dim": 8}
GEMMA3 = {**QWEN3, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
BLOOM = {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False}
CLIP_TEXT = {**SIZES, "max_position_embeddings": POSITIONS, "eos_token_id": 2, "pad_token_id": 0}


class Encoder(torch.nn.Module):
    """Only the encoder of a model with two halves."""

    def __init__(self, model):
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, **inputs):
        return self.encoder(**inputs, return_dict=False)[0]


class FirstOutput(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs)[0]


# name: (class, config class, arguments, outputs, what common.count_blocks cannot count)
TEXT = {
    "albert": ("AlbertModel", "AlbertConfig", ALBERT, [*TOKENS, Output("pooler_output", "first")], {"gelu": 2}),
    "deberta-v2": ("DebertaV2Model", "DebertaV2Config", DEBERTA, TOKENS, {"layer_norm": 5}),  # one more is over a table
    "deberta": ("DebertaModel", "DebertaConfig", DEBERTA_V1, TOKENS, {"attention": 0, "qkv": 0}),
    "mobilebert": ("MobileBertModel", "MobileBertConfig", MOBILEBERT, [*TOKENS, Output("pooler_output", "first")], {}),
    "modernbert": ("ModernBertModel", "ModernBertConfig", MODERNBERT, TOKENS, {"attention": 3, "qkv": 3}),
    "nomic-bert": ("NomicBertModel", "NomicBertConfig", NOMIC, TOKENS, {"silu": 2}),
    "t5": ("T5EncoderModel", "T5Config", T5, TOKENS, {"rms_norm": 5}),
    "t5-gated": ("T5EncoderModel", "T5Config", T5_GATED, TOKENS, {"rms_norm": 5, "gelu": 2}),
    "bart": ("BartModel", "BartConfig", BART, TOKENS, {}),
    "gpt2": ("GPT2Model", "GPT2Config", GPT2, TOKENS, {"gelu": 2}),
    "llama": ("LlamaModel", "LlamaConfig", LLAMA, TOKENS, {"rms_norm": 5, "silu": 2}),
    "esm": ("EsmModel", "EsmConfig", ESM, [*TOKENS, Output("pooler_output", "first")], {"attention": 2, "qkv": 2}),
    "roformer": ("RoFormerModel", "RoFormerConfig", ROFORMER, TOKENS, {}),
    "qwen3": ("Qwen3Model", "Qwen3Config", QWEN3, TOKENS, {"rms_norm": 9, "silu": 2}),
    "gemma3": ("Gemma3TextModel", "Gemma3TextConfig", GEMMA3, TOKENS, {"rms_norm": 13, "gelu": 2}),
    "bloom": ("BloomModel", "BloomConfig", BLOOM, TOKENS, {"attention": 2, "qkv": 2, "gelu": 2}),
    "clip-text": ("CLIPTextModel", "CLIPTextConfig", CLIP_TEXT, TOKENS, {"gelu": 2}),
}
IMAGES = {
    "vit": ("ViTModel", "ViTConfig", IMAGE, {}),
    "clip-vision": ("CLIPVisionModel", "CLIPVisionConfig", IMAGE, {"gelu": 2}),
}

# Why padding may be dropped or stay.
EITHER = {
    "deberta": "its heads, each with its q, k and v in one product, are not fused to attention",
    "mobilebert": "a token's embedding sees its neighbours', padding's too: it may be dropped behind them, not before",
}

# architecture, exporter, attention, opset, with a mask
CASES = [
    ("albert", "torchscript", "eager", 14, True),
    ("albert", "dynamo", "sdpa", 18, True),
    ("albert", "torchscript", "sdpa", 17, False),
    ("deberta-v2", "torchscript", "eager", 14, True),
    ("deberta-v2", "dynamo", "eager", 18, True),
    ("deberta", "torchscript", "eager", 17, True),
    ("deberta", "dynamo", "eager", 20, True),
    ("mobilebert", "torchscript", "eager", 17, True),
    ("mobilebert", "dynamo", "sdpa", 18, True),
    ("modernbert", "torchscript", "eager", 17, True),
    ("modernbert", "dynamo", "sdpa", 18, True),
    ("modernbert", "dynamo", "sdpa", 23, True),
    ("modernbert", "dynamo", "eager", 20, False),
    ("nomic-bert", "torchscript", "sdpa", 14, True),
    ("nomic-bert", "dynamo", "eager", 20, True),
    ("t5", "torchscript", "eager", 14, True),
    ("t5", "dynamo", "eager", 20, True),
    ("t5-gated", "dynamo", "eager", 18, False),
    ("t5-gated", "torchscript", "eager", 17, True),
    ("bart", "torchscript", "eager", 14, True),
    ("bart", "dynamo", "sdpa", 20, True),
    ("gpt2", "torchscript", "eager", 14, True),
    ("gpt2", "dynamo", "sdpa", 20, True),
    ("gpt2", "dynamo", "eager", 18, False),
    ("llama", "torchscript", "sdpa", 17, True),
    ("llama", "dynamo", "eager", 18, True),
    ("esm", "torchscript", "eager", 17, True),
    ("esm", "dynamo", "sdpa", 18, True),
    ("roformer", "torchscript", "eager", 14, True),
    ("roformer", "dynamo", "eager", 20, True),
    ("qwen3", "torchscript", "eager", 17, True),
    ("qwen3", "dynamo", "sdpa", 18, True),
    ("gemma3", "torchscript", "eager", 17, True),
    ("gemma3", "dynamo", "sdpa", 18, True),
    ("bloom", "torchscript", "eager", 17, True),
    ("bloom", "dynamo", "eager", 20, True),
    ("clip-text", "torchscript", "eager", 14, True),
    ("clip-text", "dynamo", "sdpa", 20, True),
    ("clip-text", "dynamo", "eager", 18, False),
    ("vit", "torchscript", "eager", 14, False),
    ("vit", "dynamo", "sdpa", 18, False),
    ("clip-vision", "torchscript", "sdpa", 17, False),
    ("clip-vision", "dynamo", "eager", 20, False),
    ("whisper", "torchscript", "eager", 14, False),
    ("whisper", "dynamo", "sdpa", 18, False),
]


def make_model(model_class, config_class, arguments, attention, seed):
    config = getattr(transformers, config_class)(**arguments)
    config.return_dict = False
    config._attn_implementation = attention
    model = getattr(transformers, model_class)(config)
    if model_class in ("BartModel", "WhisperModel"):
        model = Encoder(model)
    elif model_class == "CLIPTextModel":
        model = FirstOutput(model)  # the pooled row stands where the largest id is: padding or not
    return widen(model, seed)


def fixed_input(name, shape):
    def make(batch, seq, valid, pattern, generator):
        return {name: torch.randn(batch, *shape, generator=generator)}

    return make


def make_case(architecture, exporter, attention, opset, mask):
    short = {"torchscript": "ts", "dynamo": "dynamo"}[exporter]
    name = "-".join([architecture, f"{short}{opset}", *["mask"] * mask, attention])
    seed = zlib.crc32(name.encode())
    options = {"architecture": architecture, "exporter": exporter, "attention": attention, "opset": opset}
    options["packable"] = None
    if architecture in TEXT:
        model_class, config_class, arguments, outputs, expected = TEXT[architecture]
        options.update(make_inputs=make_input_maker(["input_ids"] + ["attention_mask"] * mask))
        if architecture in EITHER:
            options["reason"] = EITHER[architecture]
        elif mask:
            options["packable"] = architecture != "bloom"
            options["reason"] = "" if options["packable"] else "the bias of the scores (ALiBi) counts the positions that the mask keeps"
        if not mask:
            options["shapes"] = [(1, 1, "ones"), (3, 13, "ones"), (2, 32, "ones")]
            options["reason"] = "no mask: every position counts, there is nothing to pack away"
    else:
        outputs, shape = [Output("last_hidden_state", "sequence")], (3, 16, 16)
        if architecture == "whisper":
            model_class, config_class, arguments, expected = "WhisperModel", "WhisperConfig", WHISPER, {}
            shape = (8, 24)
        else:
            model_class, config_class, arguments, expected = IMAGES[architecture]
            outputs.append(Output("pooler_output", "sequence"))
        input_name = "input_features" if architecture == "whisper" else "pixel_values"
        options.update(make_inputs=fixed_input(input_name, shape), dims={input_name: ["batch", *shape]})
        options["shapes"] = [(1, 1, "ones"), (3, 1, "ones")]
        options["reason"] = "there is no padding"
    model = make_model(model_class, config_class, arguments, attention, seed)
    if (architecture, opset) == ("modernbert", 23):
        options["recorded_by"] = "pytorch"
    return Case(name=name, model=model, outputs=outputs, expected=expected, **options)


def cases():
    for choice in CASES:
        yield make_case(*choice)
