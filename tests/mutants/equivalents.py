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
        "bounds.curvature",
        "low, high = (torch.zeros_like(spread), torch.full_like(spread, 40.0))",
        "40.0",
        "40.8",
    ): "The end of a search for an r that is below log n.",
    (
        "classification.exponential_features",
        "scale = [math.sqrt(beta ** k / math.factorial(k)) for k in range(degree + 1)]",
        "1",
        "2",
    ): "One scale more is computed and never used.",
    (
        "classification.stacks",
        "context = Examples(*(torch.stack(part) for part in zip(*drawn, strict=True)))",
        "True",
        "False",
    ): "Every draw has the four parts of its type.",
    (
        "softmax_regression.blocks",
        "for part, A in zip(x, _documents(task, sizes, generator), strict=True):",
        "True",
        "False",
    ): "Both come from the same sizes, so one is as long as the other.",
    (
        "softmax_regression.descent_rate",
        "width = math.log(highest / lowest) / 24",
        "24",
        "25",
    ): "The last rate of the grid is then one width below the highest, and the search round it ends there.",
    (
        "softmax_regression.descent_rate",
        "found = minimize_scalar(lambda t: loss(math.exp(t)), bounds=(best - width, best + width), "
        "method='bounded', options={'xatol': 1e-09})",
        "1e-09",
        "1.02e-09",
    ): "A search is ended as far below what a loss can tell apart.",
    (
        "softmax_regression.descent_rate",
        "return float((torch.softmax(rate * logits, dim=-1) - b_query).square().sum(-1).mean())",
        "(torch.softmax(rate * logits, dim=-1) - b_query).square().sum(-1)",
        "(torch.softmax(rate * logits, dim=-1) - b_query).square().mean(-1)",
    ): "The loss of all tasks is divided by the same n, and has its minimum where it had it.",
    (
        "softmax_regression.covariance",
        "SYMMETRIC = 1e-09",
        "1e-09",
        "1.02e-09",
    ): "What is symmetric up to rounding is so up to either, and what is not is not.",
    (
        "softmax_regression.rivals",
        "starts = ([rate, depth.ADDED_RATE], [rate / 2] * 2)",
        "rate / 2",
        "rate * 2",
    ): "The second of two starts of a search, which ends where it ended.",
    (
        "classification.descent",
        "while not (trial := objective(eta - size * move)) <= value and size > 1e-06:",
        "size > 1e-06",
        "size >= 1e-06",
    ): "A step that is halved is never 1e-06.",
    (
        "softmax_regression.reading_layers",
        "return self._direction(parameters, tasks).unsqueeze(-2)",
        "-2",
        "2",
    ): "A direction has repetitions, tasks and dimensions, so the places are one.",
    (
        "bounds.shifts",
        "s = torch.where(small, t, 0.0)",
        "0.0",
        "0.02",
    ): "Where it is put the series is not taken.",
    (
        "bounds.shifts",
        "small = osc(delta) <= 1",
        "osc(delta) <= 1",
        "osc(delta) < 1",
    ): "At 1 both forms are right.",
    (
        "bounds.search",
        "if best > ALLOWED:",
        "best > ALLOWED",
        "best >= ALLOWED",
    ): "Only a ratio of the allowance to the last bit would be judged otherwise.",
    (
        "bounds.tightness",
        "found = [worst_ratio(inequality, family, self.ascent, stream(self.seed, name, device=device)) "
        "for family, name in zip(self.searched, names, strict=True)]",
        "True",
        "False",
    ): "The names are made from what is searched, so there are as many.",
    (
        "classification.contexts",
        "x, y, x_query, y_query, w = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))",
        "True",
        "False",
    ): "Each part has five tensors.",
}


def reason(mutant: Mutant) -> str | None:
    """Why no test can tell the mutant from the true code; None where that is not known."""
    return REASONS.get((mutant.module.removeprefix("icl_lib."), mutant.statement, mutant.old, mutant.new))
