"""Paper 1's experiment on the words of a real text: the layer is trained on explicit documents of `word_documents`.

The layer and the step are those of `closeness`; what they come to beside one another is measured by `rivals.Rivals`.
"""

from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib.running import training
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer
from icl_lib.softmax_regression import problem
from icl_lib.softmax_regression.covariance import inverse
from icl_lib.softmax_regression.descent_rate import best_rate
from icl_lib.softmax_regression.documents import TASKS, Documents
from icl_lib.softmax_regression.reading_layers import LinearLayer
from icl_lib.softmax_regression.word_documents import WordDocuments


@dataclass(frozen=True)
class WordCloseness:
    """Train the layer on tasks of `WordDocuments`, and tune one step on others of the training part.

    `batch` fresh tasks an update and repetition; `tuning` tasks of each repetition, all together, give the step its
    rate, and `test` tasks of each, of the test part, are those on which `Rivals` measures. Adam's `rate` falls to 0
    along a cosine.
    """

    n: int
    d: int = 20
    source: str = "independent"
    scale: float = 1.0
    vocabulary: int = 2000
    lengths: str = "unit"
    repetitions: int = 3
    steps: int = 600
    batch: int = 500
    tuning: int = 1000
    test: int = 1000
    rate: float = 0.02
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.task("train").__post_init__()
        self.optimiser.__post_init__()
        for name in ("repetitions", "batch", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    def task(self, purpose: str) -> WordDocuments:
        """The distribution of tasks to `"train"` and `"tune"` on, or to `"test"`."""
        part = "test" if purpose == "test" else "train"
        return WordDocuments(self.n, self.d, self.source, part, self.scale, self.vocabulary, self.lengths)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, "cosine")

    def documents(self, purpose: str, repetition: int, count: int) -> Documents:
        """`count` tasks of a repetition to tune or to test on, in float64: always the same ones."""
        generator = stream(self.seed, f"{purpose}/words", repetition)
        return self.task(purpose).sample(count, generator, dtype=torch.float64)

    def best_multiple(self, matrices: Tensor) -> float:
        """The c with the least loss of layers cM, M (R, d, d) or (d, d) for all, over all repetitions' tuning tasks."""
        tasks = self._tuning_tasks()
        h = problem.centred_readout(tasks.A, tasks.b) @ matrices.mT
        return best_rate(*(part.flatten(0, 1) for part in (tasks.A_query, h, tasks.b_query)))

    def preconditioners(self) -> dict[str, Tensor]:
        """Σ⁻¹ (d, d) of the training words, and the P of the `"regression"` of x* on h over all tuning tasks."""
        tasks = self._tuning_tasks()
        h, x = (part.flatten(0, 1) for part in (problem.centred_readout(tasks.A, tasks.b), tasks.x))
        known = inverse(self.task("train").covariance, self.d)
        return {"preconditioned": known, "regression": torch.linalg.lstsq(h, x).solution.mT}

    def _tuning_tasks(self) -> Documents:
        """Those of all repetitions, with the leading dimensions (R, tuning)."""
        drawn = [self.documents("tune", r, self.tuning) for r in range(self.repetitions)]
        return Documents(*(torch.stack(part) for part in zip(*drawn, strict=True)))

    def compute(self, device: torch.device) -> xarray.Dataset:
        """M (repetition, row, column) trained, η/n of the step as `rate` (repetition,), and eigenvalues of Σ."""
        M = train_matrices(self, device)
        rate = self.best_multiple(torch.eye(self.d, dtype=torch.float64))
        return xarray.Dataset(
            {
                "M": (("repetition", "row", "column"), M.to("cpu", torch.float64).numpy()),
                "rate": ("repetition", [rate] * self.repetitions),
                "variance": ("direction", torch.linalg.eigvalsh(self.task("train").covariance).numpy()),
            },
            {"repetition": range(self.repetitions)},
        )


def train_matrices(config: WordCloseness, device: torch.device) -> Tensor:
    """M (R, d, d) after training, from small random entries as in `closeness`."""
    start = LinearLayer(config.d).initial([stream(config.seed, "init/words", r) for r in range(config.repetitions)])
    generators = [stream(config.seed, "train/words", r, device) for r in range(config.repetitions)]
    task = config.task("train")

    def gradient(parameters: training.Parameters) -> training.Parameters:
        slopes = [
            matrix_gradient(task.sample(config.batch, generator, device), M)
            for M, generator in zip(parameters["M"], generators, strict=True)
        ]
        return {"M": torch.stack(slopes)}

    begun = {name: values.to(device) for name, values in start.items()}
    return training.train(begun, gradient, config.optimiser, [config.steps], generators)["M"][-1]


@checked(f"{TASKS}, M: d d_")
def matrix_gradient(tasks: Documents, M: Tensor) -> Tensor:
    """Gradient over M (d, d) of the mean over tasks of (n/2)‖softmax(A_q M h) − b‖², by `prop-derivatives`.

    The loss has the gradient g = A_qᵀ J(f)(f − b) in the direction M h, and so g hᵀ in M.
    """
    h = problem.centred_readout(tasks.A, tasks.b)
    slope = problem.gradient(tasks.A_query, h @ M.mT, tasks.b_query)
    return (slope.mT @ h) * (tasks.A_query.shape[-2] / len(h))
