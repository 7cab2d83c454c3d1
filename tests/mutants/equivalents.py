"""Mutants that compute the same as the true code, each with the reason."""

from tests.mutants.mutations import Mutant

# By module, statement, and what became what.
REASONS: dict[tuple[str, str, str, str], str] = {
    (
        "alignment",
        "return torch.where(norms > 0, product / norms.clamp_min(torch.finfo(norms.dtype).tiny), "
        "torch.zeros_like(norms))",
        "norms > 0",
        "norms >= 0",
    ): "Where a norm is 0 so is the product, and with it the quotient.",
    (
        "classification.exponential_features",
        "scale = [math.sqrt(beta ** k / math.factorial(k)) for k in range(degree + 1)]",
        "1",
        "2",
    ): "One scale more is computed and never used.",
}


def reason(mutant: Mutant) -> str | None:
    """Why no test can tell the mutant from the true code; None where that is not known."""
    return REASONS.get((mutant.module.removeprefix("icl_lib."), mutant.statement, mutant.old, mutant.new))
