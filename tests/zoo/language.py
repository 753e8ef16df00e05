"""Architectures of transformers, from their configurations: two narrow layers, random weights, eager and sdpa."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.architectures import ALL, TORCH_EXPORTERS, Net, register
from zoo.torch_tools import image, named, sized, tokens, torchvision_library

BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "initializer_range": 0.2,
}
LLAMA = {**BERT, "num_key_value_heads": 1, "head_dim": 8}
VIT = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.2,
}
DISTIL = {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 16}
GPT2 = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "initializer_range": 0.2}
OPT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 32,
    "max_position_embeddings": 16,
    "init_std": 0.2,
}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 8,
    "max_source_positions": 10,
    "vocab_size": 50,
    "pad_token_id": 0,
    "init_std": 0.2,
}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
CLIP_TEXT = {**BERT, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "projection_dim": 8}
CLIP = {"text_config": CLIP_TEXT, "vision_config": {**VIT, "projection_dim": 8}, "projection_dim": 8}
MOE = {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2}

# name -> (configuration, model, options, inputs)
ENCODERS = {
    "bert": ("BertConfig", "BertForSequenceClassification", BERT, "masked"),
    "distilbert": ("DistilBertConfig", "DistilBertForSequenceClassification", DISTIL, "masked"),
    "roberta": ("RobertaConfig", "RobertaForSequenceClassification", BERT, "masked"),
    "albert": ("AlbertConfig", "AlbertForSequenceClassification", {**BERT, "embedding_size": 8}, "masked"),
    "electra": ("ElectraConfig", "ElectraForSequenceClassification", {**BERT, "embedding_size": 8}, "masked"),
    "modernbert": ("ModernBertConfig", "ModernBertForSequenceClassification", {**BERT, "pad_token_id": 0}, "masked"),
}
DECODERS = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2, "masked"),
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA, "masked"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", LLAMA, "masked"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", LLAMA, "masked"),
    "mistral": ("MistralConfig", "MistralForCausalLM", LLAMA, "masked"),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", LLAMA, "masked"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", {**LLAMA, "pad_token_id": 0}, "masked"),
    "opt": ("OPTConfig", "OPTForCausalLM", OPT, "masked"),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", BERT, "masked"),
}
OTHERS = {
    "t5_encoder": ("T5Config", "T5EncoderModel", T5, "masked"),
    "hf_vit": ("ViTConfig", "ViTForImageClassification", VIT, "image"),
    "hf_deit": ("DeiTConfig", "DeiTForImageClassification", VIT, "image"),
    "hf_dinov2": ("Dinov2Config", "Dinov2ForImageClassification", VIT, "image"),
    "hf_clip": ("CLIPConfig", "CLIPModel", CLIP, "clip"),
}
BLOOM = {"vocab_size": 50, "hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
# Their attention, where they have any, is written in one way.
SINGLE = {
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", LLAMA, "masked"),
    "bloom": ("BloomConfig", "BloomForCausalLM", BLOOM, "masked"),
    "deberta_v2": ("DebertaV2Config", "DebertaV2ForSequenceClassification", DEBERTA, "masked"),
    "hf_swin": ("SwinConfig", "SwinForImageClassification", SWIN, "image32"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**MOE, "experts_implementation": "batched_mm"}, "masked"),
    "mamba": ("MambaConfig", "MambaForCausalLM", {**BERT, "state_size": 4}, "tokens"),
}
CONVOLUTIONAL = {
    "hf_convnext": (
        "ConvNextConfig",
        "ConvNextForImageClassification",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
        "image32",
    ),
    "hf_resnet": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "image32",
    ),
}


class Called(nn.Module):
    """A transformers model with positional inputs and one output."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], part: str | None = None) -> None:
        super().__init__()
        self.model, self.names, self.part = model, names, part

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        found = self.model(**dict(zip(self.names, inputs, strict=True)))
        if self.part:
            return found[self.part]
        return found["logits"] if "logits" in found else found[0]


def _inputs(kind: str) -> dict[str, torch.Tensor]:
    """Return example inputs; the second sample of masked ones is padded at the end."""
    if kind == "image":
        return {"pixel_values": image(2, 16)}
    if kind == "image32":
        return {"pixel_values": image(2, 32)}
    if kind == "tokens":
        return {"input_ids": tokens()}
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    pixels = {"pixel_values": image(2, 16)} if kind == "clip" else {}
    return {"input_ids": tokens(), **pixels, "attention_mask": mask}


def _make(config: str, model: str, options: dict[str, Any], kind: str, **more: Any) -> Net:
    transformers = torchvision_library("transformers")
    settings = getattr(transformers, config)(**options)
    for name in ("use_cache", "tie_word_embeddings"):
        if hasattr(settings, name):
            setattr(settings, name, False)
    net = getattr(transformers, model)._from_config(settings, **more)
    inputs = _inputs(kind)
    part = "logits_per_image" if kind == "clip" else None
    return named(Called(net, tuple(inputs), part), **inputs)


def _whisper(**more: Any) -> Net:
    transformers = torchvision_library("transformers")
    whisper = torchvision_library("transformers.models.whisper.modeling_whisper")
    net = whisper.WhisperEncoder._from_config(transformers.WhisperConfig(**WHISPER), **more)
    return named(Called(net, ("input_features",)), input_features=sized(2, 8, 20))


def _enter() -> None:
    for attention in ("eager", "sdpa"):
        for name, row in {**ENCODERS, **DECODERS, **OTHERS}.items():
            exporters = ALL if name in {"bert", "gpt2", "llama", "hf_vit"} else TORCH_EXPORTERS
            make = partial(_make, *row, attn_implementation=attention)
            register(f"{name}_{attention}", make, "attention", family="transformers", exporters=exporters)
        make = partial(_whisper, attn_implementation=attention)
        register(f"whisper_encoder_{attention}", make, "attention", family="transformers")
    for name, row in SINGLE.items():
        make = partial(_make, *row, attn_implementation="eager") if name == "hf_swin" else partial(_make, *row)
        register(name, make, "attention", family="transformers")
    for name, row in CONVOLUTIONAL.items():
        register(name, partial(_make, *row), "conv", family="transformers")


_enter()
