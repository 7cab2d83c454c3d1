"""A small training of every kind in the book, by its own code: each takes a device and returns what it trained."""

from collections.abc import Callable

import torch
from torch import Tensor

from icl_lib import linear_regression
from icl_lib.classification import closeness as classification
from icl_lib.classification.contexts import SphereClassification
from icl_lib.softmax_regression import closeness, depth, readings, word_closeness

STEPS = 9


def closeness_training(device: torch.device) -> Tensor:
    """The layer of the closeness chapter."""
    config = closeness.Closeness(6, 3, "same", repetitions=2, steps=STEPS, batch=5, schedule="cosine", dtype="float64")
    return closeness.train_matrices(config, device, [STEPS])


def classifier_training(device: torch.device) -> Tensor:
    """A head of softmax attention."""
    task = SphereClassification(8, 3, 3, balance="none")
    config = classification.paper_scale(task, "softmax", repetitions=2, steps=STEPS, batch=5, warm_up=2)
    return classification.train_weights(config, device, [STEPS])["W_Q"]


def linear_training(device: torch.device) -> Tensor:
    """The layer of the baseline."""
    config = linear_regression.Baseline(n=5, d=2, repetitions=2, steps=STEPS, batch=6, warm_up=2)
    return linear_regression.train_layers(config, device, [STEPS])["W_V"]


def deep_training(device: torch.device) -> Tensor:
    """Two layers at once."""
    config = depth.Depth(layers=2, n=6, d=3, repetitions=2, steps=STEPS, batch=4)
    return depth.train_layers(config, 2, None, device, [STEPS])


def reading_training(device: torch.device) -> Tensor:
    """Another reading of the layer, by autograd."""
    return reading(device, training_set=0)


def word_training(device: torch.device) -> Tensor:
    """The layer on windows of a real text."""
    config = word_closeness.WordCloseness(6, 3, "windows", vocabulary=40, repetitions=2, steps=STEPS, batch=4)
    return word_closeness.train_matrices(config, device)


def reading(device: torch.device, training_set: int) -> Tensor:
    """The same on a fixed training set, if its size is not 0."""
    config = readings.Reading(n=6, d=3, repetitions=2, steps=STEPS, batch=4, training_set=training_set)
    return torch.from_numpy(config.compute(device)["trained_M"].values)


TRAININGS: list[Callable[[torch.device], Tensor]] = [
    closeness_training,
    classifier_training,
    linear_training,
    deep_training,
    reading_training,
    word_training,
]
