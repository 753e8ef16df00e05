"""Own nets with attention: torch's encoder and multi-head modules, and attention written by hand."""

from __future__ import annotations

import math

import torch
from torch import nn

from zoo.architectures import ALL, DYNAMIC, Net, net
from zoo.torch_tools import Apply, Residual, plain, sized, tokens


class Mean(nn.Module):
    """Mean over the sequence, then a dense layer."""

    def __init__(self, width: int, classes: int = 3) -> None:
        super().__init__()
        self.top = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(x.mean(1))


def encoder(norm_first: bool) -> nn.Module:
    """Two of torch's encoder layers."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@net("attention", exporters=ALL)
def transformer_encoder() -> Net:
    return plain(nn.Sequential(encoder(False), Mean(8)), sized(2, 5, 8))


@net("attention")
def transformer_encoder_prenorm() -> Net:
    return plain(nn.Sequential(encoder(True), nn.LayerNorm(8), Mean(8)), sized(2, 5, 8))


@net("attention")
def transformer_tokens() -> Net:
    return plain(nn.Sequential(nn.Embedding(50, 8), encoder(False), Mean(8)), tokens())


class SelfAttention(nn.Module):
    """torch's multi-head attention of x with itself, with its weights as a second output where asked for."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, batch_first=True), weights

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        out, weights = self.attention(x, x, x, key_padding_mask=padding, need_weights=self.weights)
        return (out, weights) if self.weights else out


@net("attention")
def multihead_with_weights() -> Net:
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    return plain(SelfAttention(True), sized(2, 5, 8), padding)


@net("attention", exporters=ALL)
def multihead_padded() -> Net:
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    return plain(SelfAttention(False), sized(2, 5, 8), padding)


class CrossAttention(nn.Module):
    """Queries of one input, keys and values of another, of other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, add_bias_kv=True, batch_first=True)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.attention(query, key, value, need_weights=False)[0]


@net("attention")
def cross_attention() -> Net:
    return plain(CrossAttention(), sized(2, 3, 8), sized(2, 5, 6), sized(2, 5, 4))


class EinsumAttention(nn.Module):
    """Attention by einsum over heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Parameter(0.5 * torch.randn(3, 2, 8, 4))
        self.out = nn.Parameter(0.5 * torch.randn(2, 4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (torch.einsum("btd,hde->bhte", x, w) for w in self.qkv)
        weights = torch.softmax(torch.einsum("bhqe,bhke->bhqk", q, k) / 2, -1)
        return torch.einsum("bhte,hed->btd", torch.einsum("bhqk,bhke->bhqe", weights, v), self.out)


@net("attention", exporters=DYNAMIC)
def einsum_attention() -> Net:
    return plain(nn.Sequential(Residual(EinsumAttention()), nn.LayerNorm(8), Mean(8)), sized(2, 5, 8))


class CausalAttention(nn.Module):
    """nanoGPT's attention, written out or by scaled_dot_product_attention."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.fused = heads, fused
        self.register_buffer("mask", torch.tril(torch.ones(8, 8)).bool())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (h.view(b, t, self.heads, d // self.heads).transpose(1, 2) for h in self.qkv(x).split(d, 2))
        if self.fused:
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            weights = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)
            weights = weights.masked_fill(~self.mask[:t, :t], float("-inf"))
            y = torch.softmax(weights, -1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class NanoGpt(nn.Module):
    """Token and position embeddings, blocks, a head for each position."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(50, 8), nn.Embedding(8, 8)
        self.blocks = nn.Sequential(*(self._block(fused) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 50, bias=False)

    @staticmethod
    def _block(fused: bool) -> nn.Sequential:
        mlp = nn.LayerNorm(8), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)
        return nn.Sequential(Residual(nn.LayerNorm(8), CausalAttention(8, 2, fused)), Residual(*mlp))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token(ids) + self.place(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))[:, -1]


@net("attention", exporters=DYNAMIC)
def nanogpt() -> Net:
    return plain(NanoGpt(False), tokens())


@net("attention", exporters=ALL)
def nanogpt_fused() -> Net:
    return plain(NanoGpt(True), tokens())


class Rotary(nn.Module):
    """Grouped-query attention with rotary positions and a SwiGLU block, as in llama, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(8, 8, False), nn.Linear(8, 8, False), nn.Linear(8, 8, False)
        self.gate, self.up, self.down = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)
        angle = torch.arange(5).float()[:, None] * 0.5 ** torch.arange(2).float()[None]
        self.register_buffer("cos", torch.cos(torch.cat([angle, angle], -1)))
        self.register_buffer("sin", torch.sin(torch.cat([angle, angle], -1)))

    def _turn(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.q(x).view(-1, 5, 2, 4).transpose(1, 2)
        k, v = (h.reshape(-1, 5, 1, 4).transpose(1, 2) for h in self.kv(x).chunk(2, -1))
        k, v = (h.expand(-1, 2, -1, -1) for h in (self._turn(k), v))
        weights = torch.softmax(self._turn(q) @ k.transpose(-2, -1) * 0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(-1, 5, 8))
        return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))


@net("attention")
def rotary_swiglu() -> Net:
    return plain(nn.Sequential(Rotary(), Mean(8)), sized(2, 5, 8))


class Vit(nn.Module):
    """Patches, a class token, positions, torch's encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.cls, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 10, 8))
        self.body, self.top = encoder(True), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(x.shape[0], -1, -1), h], 1) + self.place
        return self.top(self.body(h)[:, 0])


@net("attention", exporters=DYNAMIC)
def small_vit() -> Net:
    return plain(Vit(), sized(2, 3, 12, 12))


class LinearAttention(nn.Module):
    """Attention without softmax: elu + 1 features, keys and values summed first."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        return q @ (k.transpose(1, 2) @ v) / (q @ k.sum(1).unsqueeze(-1))


@net("attention")
def linear_attention() -> Net:
    body = Residual(nn.LayerNorm(8), LinearAttention()), nn.LayerNorm(8), Apply(torch.tanh)
    return plain(nn.Sequential(*body, Mean(8)), sized(2, 5, 8))
