"""The public functions of the library, found by walking its packages, and those that are not called."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import icl_lib

RESULT = "reads the arrays of a result, or a table or figure made of one, by their names"
EXPERIMENT = "a part of an experiment, whose settings are looked at where they are made"
FILES = "reads or writes files"
PROCESSES = "asks, locks or starts processes"
RECORD = "reads a recorded benchmark"
CHECK = "is the check itself: names, and what is allowed, are its arguments"
ALGEBRA = "is an identity or a polynomial in numbers of any kind: floats, tensors, fractions, symbols"
NOT_CALLED = {
    RESULT: {
        "classification.authors": "fitted_number table_of_fits agreement_of_fits agreement_of_losses ladder",
        "classification.figures": "closeness_figure published_figure circle map_of_differences sphere forward_pass",
        "classification.fitted_steps": "collect compare",
        "classification.parts": "excess_parts mean_parts learned_widths with_own_step",
        "classification.regimes": "greatest_deficits measured by_cell tally crossings crossing_words",
        "classification.summaries": (
            "classification_table scatter_table layer_blocks learned_width width_by_training learned_gain "
            "off_structure paired excess excess_by_training wrong_basin summary correlations context_agreement "
            "as_the_authors_measure"
        ),
        "classification.stack_rivals": "resemblance",
        "display.figures": "use_style band closeness_panels loss_panels table tell",
        "display.glance": "draw",
        "display.interactive": "panels line shade",
        "linear_regression": "table",
        "softmax_regression.beyond_summaries": (
            "spread_of_ratios reading_summary wrong_steps transfer_summary stack_summary since layers_of_stack"
        ),
        "softmax_regression.closeness_claims": "losses differences cosine preconditioned",
        "softmax_regression.rival_summaries": "rival_table against multiple_gain beside_step let_pass",
        "softmax_regression.summaries": (
            "closeness_table final_losses loss_ratio left_over summary controls stays_on_plateau "
            "differences_ratio gap_closed average_cosine rate_spread search_excess matrix_summary spread_times "
            "baseline_summary"
        ),
        "statistics": "over_runs",
    },
    EXPERIMENT: {
        "classification.authors": "fits_at",
        "classification.closeness": "batches train_weights train_weights_together fit_step tuning_contexts measure",
        "classification.ladder": (
            "one_step of_fit nearest_mean nearest_neighbours linear_steps kernel_steps logistic_regression "
            "kernel_logistic_regression"
        ),
        "classification.real_data": "halves on_sphere",
        "classification.regimes": "fitted_cells",
        "classification.stack_rivals": "cross_entropy_steps least_squares smoothing preconditioned newton",
        "classification.stacks": "train_stack unseen_contexts",
        "linear_regression": "train_layers tune_rate test_repetition",
        "softmax_regression.closeness": (
            "initial_matrices train_matrices train_matrices_together tune_rate test_repetition"
        ),
        "softmax_regression.depth": "initial_layers train_layers",
        "softmax_regression.readings": "draw predictions tune_rate test_repetition",
        "softmax_regression.word_closeness": "train_matrices",
        "running.training": "train train_together",
        "running.sweep": "run sweep",
    },
    FILES: {
        "claims": "record",
        "display.figures": "save_data",
        "display.benchmark_results": "load code_of_a_step code_of_a_training code_of_model_heads",
        "running.digest": "changed_since_start check_unchanged library_digest module_digest files_of",
        "running.places": "checkout store_folder output_file output_folder",
        "running.store": "key",
        "running.graph": "dotted_names",
    },
    PROCESSES: {
        "running.capture": "cuda_graph recorder",
        "running.locking": "open_shared held",
        "running.workers": "workers check_worker",
        "running.device": "one_thread",
    },
    RECORD: {
        "display.benchmark_results": (
            "rows main_table seconds ratio apart growth_figure slope memory_table solvers_table "
            "classification_table authors_table authors_ratio"
        ),
    },
    ALGEBRA: {
        "bounds.core": "half_gap odds_gap third_gap likely_gap plateau_gap cover bernstein fourth_cases",
    },
    CHECK: {
        "running.training": "check_not_diverged",
        "statistics": "finite_array number_of",
        "running.checked": "checked check_tensors too_extreme",
        "running.validation": (
            "check_alike check_broadcast check_choice check_count check_device check_dtype check_filled "
            "check_finite check_limit check_instance check_integer check_keys check_last_dimensions check_number "
            "check_sign check_size check_tuple is_finite"
        ),
    },
}


def not_called() -> dict[str, str]:
    """The reason why a function is not called, by its dotted name."""
    return {
        f"{module}.{name}": reason
        for reason, modules in NOT_CALLED.items()
        for module, names in modules.items()
        for name in names.split()
    }


def walk() -> dict[str, Callable[..., Any]]:
    """Every public function, and every public dataclass that looks at its fields, by dotted name."""
    found: dict[str, Callable[..., Any]] = {}
    for module_info in pkgutil.walk_packages(icl_lib.__path__, "icl_lib."):
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            checks = inspect.isclass(value) and dataclasses.is_dataclass(value) and hasattr(value, "__post_init__")
            if inspect.isfunction(value) or (checks and not inspect.isabstract(value)):
                found[f"{module.__name__.removeprefix('icl_lib.')}.{name}"] = value
    return found
