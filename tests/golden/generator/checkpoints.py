"""Hugging Face checkpoints: the files as transformers writes them, and the variants found in the wild.

Outputs are those of PyTorch on the model *read back* from the folder, in float32 whatever the files store,
so a case also proves that the files mean what the reference library reads.
"""

import dataclasses
import json
import shutil

import torch
import transformers
from safetensors.torch import save_file

from . import architectures, common
from .common import Output
from .exports import ARCHITECTURES, HEADS, outputs_of
from .tokenizers import TEXTS, make_tokenizer

DIR = common.ROOT / "checkpoints"
ARCHITECTURES = {
    **ARCHITECTURES,
    "xlmr": ("XLMRoberta", ARCHITECTURES["roberta"][1], 1, 1),
    "albert": ("Albert", {**architectures.ALBERT, "num_hidden_groups": 2}, 0, 2),
    "modernbert": ("ModernBert", architectures.MODERNBERT, 0, 0),
    "deberta-v2": ("DebertaV2", architectures.DEBERTA, 0, 0),
    "vit": ("ViT", architectures.IMAGE, 0, 0),
}
HEADS = {**HEADS, "image_classification": "ForImageClassification"}


@dataclasses.dataclass
class Checkpoint:
    name: str
    architecture: str
    head: str
    config: dict = dataclasses.field(default_factory=dict)
    layout: str = "safetensors"  # or sharded, bin, old_names, prefixed
    dtype: str = "float32"
    pooling: str = ""  # sentence-transformers: mean, cls, max
    normalize: bool = False
    tokenizer: bool = True
    expected: dict = dataclasses.field(default_factory=dict)
    notes: str = ""

    @property
    def layers(self):
        """One layer will do, and keeps the files small, where another case has two layers of the same names."""
        return 2 if self.tokenizer or self.layout != "safetensors" else 1

    def write(self, index):
        folder = DIR / self.name
        shutil.rmtree(folder, ignore_errors=True)
        try:
            index[self.name] = write_checkpoint(self, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return index[self.name]


def cases():
    eps = {"layer_norm_eps": 1e-2}
    yield Checkpoint("bert-encoder", "bert", "encoder")
    yield Checkpoint("bert-seqcls", "bert", "sequence_classification")
    yield Checkpoint(
        "bert-tokcls-gelu-new", "bert", "token_classification", {"hidden_act": "gelu_new", **eps},
        expected={"gelu": 2}, notes="tanh GELU and a large layer_norm_eps: ignoring either shows",
    )  # fmt: skip
    yield Checkpoint("bert-qa", "bert", "question_answering")
    yield Checkpoint("bert-mlm", "bert", "masked_lm")
    yield Checkpoint("bert-pretraining", "bert", "pretraining")
    yield Checkpoint("bert-mlm-sharded", "bert", "masked_lm", layout="sharded")
    yield Checkpoint("bert-mlm-bin", "bert", "masked_lm", layout="bin", notes="tied weights share one storage")
    yield Checkpoint(
        "bert-seqcls-bin-f16", "bert", "sequence_classification", layout="bin", dtype="float16",
        notes="pooler.dense.weight is a transposed view, classifier.weight a view with a storage offset",
    )  # fmt: skip
    yield Checkpoint("bert-encoder-bf16", "bert", "encoder", dtype="bfloat16")
    yield Checkpoint(
        "bert-pretraining-old-names", "bert", "pretraining", layout="old_names", tokenizer=False,
        notes="LayerNorm.gamma/beta, a stored position_ids buffer, cls.predictions.decoder.weight stored too",
    )  # fmt: skip
    yield Checkpoint(
        "bert-encoder-prefixed", "bert", "encoder", layout="prefixed", tokenizer=False,
        notes='architectures is BertModel, but the names carry "bert." and the heads are stored too',
    )  # fmt: skip
    roberta = {"layer_norm_eps": 1e-5, "vocab_size": 280}
    yield Checkpoint("roberta-encoder", "roberta", "encoder", roberta)
    yield Checkpoint("roberta-seqcls", "roberta", "sequence_classification", {"layer_norm_eps": 1e-5}, tokenizer=False)
    yield Checkpoint("roberta-mlm", "roberta", "masked_lm", {"layer_norm_eps": 1e-5}, tokenizer=False)
    yield Checkpoint("xlmr-encoder", "xlmr", "encoder", eps)
    yield Checkpoint("xlmr-tokcls", "xlmr", "token_classification", tokenizer=False)
    yield Checkpoint("distilbert-encoder", "distilbert", "encoder")
    yield Checkpoint("distilbert-seqcls", "distilbert", "sequence_classification")
    yield Checkpoint("distilbert-qa", "distilbert", "question_answering", tokenizer=False)
    yield Checkpoint("distilbert-mlm", "distilbert", "masked_lm", tokenizer=False)
    yield Checkpoint("electra-encoder", "electra", "encoder", notes="embedding_size 16: a projection before the layers")
    yield Checkpoint("electra-seqcls", "electra", "sequence_classification", {"embedding_size": 32}, tokenizer=False)
    yield Checkpoint("electra-pretraining", "electra", "pretraining", tokenizer=False, notes="the discriminator")
    yield Checkpoint("electra-mlm", "electra", "masked_lm", tokenizer=False, notes="the generator")
    yield Checkpoint("mpnet-encoder", "mpnet", "encoder")
    yield Checkpoint("mpnet-mlm", "mpnet", "masked_lm", tokenizer=False)
    yield Checkpoint("mpnet-tokcls", "mpnet", "token_classification", tokenizer=False)
    yield Checkpoint("albert-encoder", "albert", "encoder", tokenizer=False, layout="bin", notes="two groups of layers")
    yield Checkpoint("albert-seqcls", "albert", "sequence_classification", {"num_hidden_groups": 1}, tokenizer=False)
    yield Checkpoint("albert-mlm", "albert", "masked_lm", {"num_hidden_groups": 1}, tokenizer=False)
    yield Checkpoint("modernbert-encoder", "modernbert", "encoder", tokenizer=False, layout="bin")
    mean = {"classifier_pooling": "mean"}
    yield Checkpoint("modernbert-seqcls", "modernbert", "sequence_classification", mean, tokenizer=False)
    yield Checkpoint("modernbert-tokcls", "modernbert", "token_classification", {"norm_bias": True}, tokenizer=False)
    yield Checkpoint("modernbert-mlm", "modernbert", "masked_lm", tokenizer=False)
    # One more norm is over a table.
    one_more = {"layer_norm": 5}
    yield Checkpoint("deberta-v2-encoder", "deberta-v2", "encoder", tokenizer=False, layout="bin", expected=one_more)
    apart = {"share_att_key": False, "pos_att_type": "c2p|p2c", "norm_rel_ebd": "none", "type_vocab_size": 2}
    apart |= {"position_biased_input": True, "position_buckets": -1, "max_relative_positions": 12, "embedding_size": 24}
    yield Checkpoint(
        "deberta-v2-seqcls-apart", "deberta-v2", "sequence_classification", apart, tokenizer=False,
        notes="projections of distances of their own, a row for each distance, positions added to words too",
    )  # fmt: skip
    yield Checkpoint("deberta-v2-mlm", "deberta-v2", "masked_lm", {"pos_att_type": ["c2p"]}, tokenizer=False, expected={"layer_norm": 4})
    plain = {"relative_attention": False, "pos_att_type": None, "position_biased_input": True}
    yield Checkpoint("deberta-v2-tokcls-absolute", "deberta-v2", "token_classification", plain, tokenizer=False)
    yield Checkpoint("vit-encoder", "vit", "encoder", tokenizer=False)
    names = {"id2label": {0: "cat", 1: "dog", 2: "tench, Tinca tinca"}, "qkv_bias": False, "hidden_act": "gelu_new"}
    yield Checkpoint("vit-imgcls", "vit", "image_classification", names, tokenizer=False, expected={"gelu": 1})
    yield Checkpoint("st-minilm-mean-normalize", "minilm", "encoder", pooling="mean", normalize=True)
    yield Checkpoint("st-mpnet-mean-normalize", "mpnet", "encoder", pooling="mean", normalize=True)
    yield Checkpoint("st-bert-mean", "bert", "encoder", pooling="mean", tokenizer=False)
    yield Checkpoint("st-bert-cls-normalize", "bert", "encoder", pooling="cls", normalize=True, tokenizer=False)
    yield Checkpoint("st-distilbert-max", "distilbert", "encoder", pooling="max")


def build(case):
    prefix, arguments, pad_id, _ = ARCHITECTURES[case.architecture]
    labels = {"sequence_classification": 3, "token_classification": 5}.get(case.head)
    arguments = {**arguments, **({"num_labels": labels} if labels else {}), **case.config}
    arguments["n_layers" if case.architecture == "distilbert" else "num_hidden_layers"] = case.layers
    config = getattr(transformers, prefix + "Config")(**arguments)
    config.pad_token_id = pad_id
    config._attn_implementation = "eager"
    model_class = getattr(transformers, prefix + HEADS[case.head])
    model = common.widen(model_class(config), seed=sum(map(ord, case.name)))
    return model.to(getattr(torch, case.dtype))


def old_names(model):
    """The state of a checkpoint of 2018: TensorFlow's names for the gains, buffers and tied weights stored."""
    state = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[name] = tensor.clone()
    state["bert.embeddings.position_ids"] = torch.arange(66).unsqueeze(0)
    del state["cls.predictions.decoder.bias"]  # only cls.predictions.bias existed
    return state


def prefixed(model):
    """A pretraining checkpoint whose config names the bare encoder, as "save the base model" scripts produced."""
    full = common.widen(transformers.BertForPreTraining(model.config), seed=99)
    full.bert.load_state_dict(model.state_dict())
    return {name: tensor.clone() for name, tensor in full.state_dict().items()}


def bin_state(model, dtype):
    state = dict(model.state_dict())
    if dtype == "float16":
        state["bert.pooler.dense.weight"] = state["bert.pooler.dense.weight"].T.contiguous().T
        weight = state["classifier.weight"]
        state["classifier.weight"] = torch.cat([torch.ones(7, dtype=weight.dtype), weight.flatten()])[7:].view_as(weight)
    return state


def save_weights(case, model, folder):
    model.save_pretrained(folder, max_shard_size="30KB" if case.layout == "sharded" else "5GB")
    stored = folder / "model.safetensors"
    if case.layout == "bin":
        stored.unlink()
        torch.save(bin_state(model, case.dtype), folder / "pytorch_model.bin")
    elif case.layout == "old_names":
        save_file(old_names(model), stored, metadata={"format": "pt"})
    elif case.layout == "prefixed":
        save_file(prefixed(model), stored, metadata={"format": "pt"})


def save_pooling(case, folder):
    """The files of sentence-transformers. 2_Normalize has none: published repositories do not hold the folder."""
    library = "sentence_transformers.models"
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    modules += [("2", "2_Normalize", "Normalize")] if case.normalize else []
    listed = [{"idx": int(i), "name": i, "path": path, "type": f"{library}.{kind}"} for i, path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed, indent=2) + "\n")
    (folder / "1_Pooling").mkdir()
    modes = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": "sqrt"}
    pooling = {"word_embedding_dimension": 32}
    pooling |= {f"pooling_mode_{key}": case.pooling == mode for key, mode in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2) + "\n")
    (folder / "sentence_bert_config.json").write_text('{\n  "max_seq_length": 64,\n  "do_lower_case": false\n}\n')


def save_image_processor(folder):
    """As published: ViT's own, but for the size."""
    settings = {"do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
    settings |= {"image_processor_type": "ViTImageProcessor", "resample": 3, "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def pool(case, tokens, mask):
    weight = mask.unsqueeze(-1).to(tokens.dtype)
    if case.pooling == "mean":
        pooled = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
    elif case.pooling == "max":
        pooled = tokens.masked_fill(weight == 0, -1e9).max(1).values
    else:
        pooled = tokens[:, 0]
    return torch.nn.functional.normalize(pooled, p=2, dim=1) if case.normalize else pooled


def write_checkpoint(case, folder):
    original = build(case)
    folder.mkdir(parents=True)
    save_weights(case, original, folder)
    texts = []
    if case.tokenizer:
        tokenizer = make_tokenizer(case.architecture, folder)
        texts = [{"text": text, "input_ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    if case.pooling:
        save_pooling(case, folder)
    if case.head == "image_classification":
        save_image_processor(folder)

    loaded = type(original).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    _, _, pad_id, type_vocab = ARCHITECTURES[case.architecture]
    type_vocab = case.config.get("type_vocab_size", type_vocab)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (type_vocab > 1)
    make_inputs, shapes = common.make_input_maker(names, pad_id), common.DYNAMIC_SHAPES
    outputs = outputs_of("roberta" if case.architecture == "xlmr" else case.architecture, case.head)
    packable, reason = True, ""
    if case.architecture == "vit":
        names, shapes = ["pixel_values"], [(1, 1, "ones"), (3, 1, "ones")]
        make_inputs = architectures.fixed_input("pixel_values", (3, 16, 16))
        outputs = [Output(output.name, "sequence") for output in outputs]
        packable, reason = None, "there is no padding"
    if case.architecture == "deberta-v2" and case.head == "sequence_classification":
        # From a first row that is padding transformers attends to everything, padding too: no answer to compare with.
        shapes = [shape for shape in shapes if shape[2] != "left"]
    tensors, worst = {}, 0.0
    for index, (batch, seq, pattern) in enumerate(shapes):
        generator = torch.Generator().manual_seed(200 + index)
        valid = common.make_mask(batch, seq, pattern, generator)
        inputs = make_inputs(batch, seq, valid, pattern, generator)
        with torch.no_grad():
            got = common.flatten(loaded(**inputs))
            want = common.flatten(original.float()(**inputs))
        if len(got) != len(outputs):
            raise ValueError(f"{case.name}: {len(got)} outputs")
        worst = max([worst, *((a - b).abs().max().item() for a, b in zip(got, want))])
        if case.pooling:
            got.append(pool(case, got[0], valid))
        tensors[f"shape{index}/valid"] = valid
        tensors |= {f"shape{index}/in/{name}": tensor for name, tensor in inputs.items()}
        recorded = [o.name for o in outputs] + ["sentence_embedding"]
        tensors |= {f"shape{index}/out/{name}": tensor.contiguous() for name, tensor in zip(recorded, got)}
    if worst > 1e-6:
        raise ValueError(f"{case.name}: read back, the outputs differ by {worst}")
    common.save_tensors({name: common.to_numpy(tensor) for name, tensor in tensors.items()}, folder / "recorded.safetensors")

    if case.pooling:
        outputs = [*outputs, Output("sentence_embedding", "first" if case.pooling == "cls" else "sequence")]
    counted = common.count_blocks(loaded, inputs, case.layers)
    return {
        "name": case.name,
        "kind": "checkpoint",
        "file": f"checkpoints/{case.name}",
        "recorded": f"checkpoints/{case.name}/recorded.safetensors",
        "architecture": case.architecture,
        "class": type(original).__name__,
        "head": case.head,
        "weights": case.layout,
        "dtype": case.dtype,
        "tokenizer": case.tokenizer,
        "texts": texts,
        "pooling": case.pooling,
        "normalize": case.normalize,
        "inputs": names,
        "outputs": [dataclasses.asdict(output) for output in outputs],
        "layers": case.layers,
        "expected": {**counted, **case.expected},
        "packable": packable,
        "packable_reason": reason,
        "shapes": [{"batch": b, "seq": s, "mask": m} for b, s, m in shapes],
        "recorded_by": "pytorch",
        "tolerance": common.TOLERANCE,
        "checked_to": float(f"{worst:.1e}"),
        "notes": case.notes,
    }
