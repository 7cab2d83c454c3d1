"""Mutants of a module: its code with one small fault, of the kinds that slips of the pen have."""

import ast
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# One name for another: of methods and functions of tensors, and of Python's own.
METHODS = {
    **{"amax": "amin", "amin": "amax", "max": "min", "min": "max", "argmax": "argmin", "argmin": "argmax"},
    **{"maximum": "minimum", "minimum": "maximum", "clamp_min": "clamp_max", "clamp_max": "clamp_min"},
    **{"sum": "mean", "mean": "sum", "any": "all", "all": "any", "std": "var", "cos": "sin", "sin": "cos"},
    **{"exp": "expm1", "expm1": "exp", "log": "log1p", "log1p": "log", "square": "abs", "floor": "ceil"},
}
BUILTINS = {"max": "min", "min": "max", "any": "all", "all": "any"}
DROPPED = ("abs", "square", "sqrt", "clamp_min", "clamp_max", "clamp", "clamp_min_", "mT", "flip", "cumsum", "sort")
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv},
}
BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
}
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
# What is told, what is checked of arguments, and how a control fails are no formulas.
WORDS = ("fails_at", "key", "statement", "bound", "constant", "label", "page", "name", "dtype", "device")
CHECKS = ("check_", "_check", "refuse_", "_refuse")


@dataclass(frozen=True)
class Mutant:
    """One fault: in `function` of a module (empty at its top) the expression `old` became `new`.

    `statement` is the first line of what it stands in, `place` its number among all faults that could be drawn.
    """

    module: str
    function: str
    statement: str
    kind: str
    old: str
    new: str
    place: int


@dataclass(frozen=True)
class _Site:
    """A node that can be replaced: `put` puts another one into its place."""

    function: str
    statement: str
    kind: str
    old: ast.expr
    new: ast.expr
    put: Callable[[ast.expr], None]


def mutants(module: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    return [
        Mutant(module, site.function, site.statement, site.kind, ast.unparse(site.old), ast.unparse(site.new), place)
        for place, site in enumerate(_sites(ast.parse(source)))
    ]


def mutated(source: str, mutant: Mutant) -> str:
    """The code of the module with the fault.

    Raises `ValueError` where the source is not that of the mutant.
    """
    tree = ast.parse(source)
    sites = list(_sites(tree))
    site = sites[mutant.place] if mutant.place < len(sites) else None
    if site is None or (ast.unparse(site.old), ast.unparse(site.new)) != (mutant.old, mutant.new):
        raise ValueError(f"{mutant.module} must hold {mutant.old!r} at place {mutant.place}")
    site.put(site.new)
    return ast.unparse(ast.fix_missing_locations(tree))


def drawn(module: str, source: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a module, drawn without replacement: the kinds in turn, so that none prevails."""
    chance = random.Random(f"{seed} {module}")
    by_kind = defaultdict(list)
    for mutant in mutants(module, source):
        by_kind[mutant.kind].append(mutant)
    kinds = sorted(by_kind)
    chance.shuffle(kinds)
    for kind in kinds:
        chance.shuffle(by_kind[kind])
    found: list[Mutant] = []
    while len(found) < count and any(by_kind.values()):
        found += [by_kind[kind].pop() for kind in kinds if by_kind[kind]]
    return sorted(found[:count], key=lambda mutant: mutant.place)


def scopes(tree: ast.Module) -> dict[ast.AST, str]:
    """The classes, functions and lambdas of a module with their names; a lambda's is its number in its scope."""
    found: dict[ast.AST, str] = {}
    _name_scopes(tree, "", found)
    return found


def _name_scopes(node: ast.AST, scope: str, found: dict[ast.AST, str]) -> None:
    number = 0
    pending = list(ast.iter_child_nodes(node))
    while pending:
        child = pending.pop(0)
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            number += isinstance(child, ast.Lambda)
            name = f"λ{number}" if isinstance(child, ast.Lambda) else child.name
            found[child] = f"{scope}.{name}".lstrip(".")
            _name_scopes(child, found[child], found)
        else:
            pending[:0] = ast.iter_child_nodes(child)


def _sites(tree: ast.Module) -> Iterator[_Site]:
    yield from _below(tree, "", "", scopes(tree))


def _below(node: ast.AST, function: str, statement: str, names: dict[ast.AST, str]) -> Iterator[_Site]:
    """The sites below a node, in the order of the text."""
    function = names.get(node, function)
    if isinstance(node, ast.stmt):
        statement = ast.unparse(node).splitlines()[0]
    for name, value in ast.iter_fields(node):
        if _is_left_out(node, name, function):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _is_no_formula(child, node):
                continue
            if isinstance(child, ast.expr):
                put = _putter(node, name, index if isinstance(value, list) else None)
                yield from (_Site(function, statement, kind, child, new, put) for kind, new in _faults(child, node))
            yield from _below(child, function, statement, names)


def _putter(node: ast.AST, name: str, index: int | None) -> Callable[[ast.expr], None]:
    def put(new: ast.expr) -> None:
        if index is None:
            setattr(node, name, new)
        else:
            getattr(node, name)[index] = new

    return put


def _is_left_out(node: ast.AST, field: str, function: str) -> bool:
    """Annotations, decorators, and defaults, which are settings and no formulas."""
    if field in ("annotation", "returns", "decorator_list", "bases", "defaults", "kw_defaults", "targets", "target"):
        return True
    # A field of a class.
    return isinstance(node, ast.AnnAssign) and field == "value" and function.rpartition(".")[2][:1].isupper()


def _is_no_formula(node: ast.AST, parent: ast.AST) -> bool:
    """What is imported, raised, checked or told."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name.startswith(CHECKS) or node.name == "__post_init__"
    if isinstance(node, ast.If):
        return isinstance(node.body[0], ast.Raise)
    if isinstance(node, ast.keyword):
        return node.arg in WORDS
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_check(node.value)
    return isinstance(node, ast.expr) and isinstance(parent, ast.Assign | ast.Return) and _is_check(node)


def _is_check(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.startswith(CHECKS)


def _faults(node: ast.expr, parent: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What a node may become, with the kind of the fault."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for kind, table in (("boundary", BOUNDARY), ("opposite", OPPOSITE)):
            if new := table.get(type(node.ops[0])):
                yield kind, ast.Compare(node.left, [new()], node.comparators)
    elif isinstance(node, ast.BinOp) and not any(map(_is_text, (node.left, node.right))):
        if new_op := ARITHMETIC.get(type(node.op)):
            yield "arithmetic", ast.BinOp(node.left, new_op(), node.right)
        if isinstance(node.op, ast.Add | ast.Sub):
            yield "dropped term", node.left
        if isinstance(node.op, ast.Mult | ast.Div):
            yield "dropped factor", node.left
    elif isinstance(node, ast.BoolOp):
        yield "and, or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.IfExp):
        yield "branch", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    if isinstance(parent, ast.If | ast.IfExp | ast.While) and parent.test is node:
        yield "opposite", ast.UnaryOp(ast.Not(), node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    value = node.value
    if isinstance(value, bool):
        yield "flag", ast.Constant(not value)
    elif isinstance(value, int):
        yield "off by one", ast.Constant(value + 1)
    elif isinstance(value, float):
        yield "2 %", ast.Constant(1.02 * value if value else 0.02)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
        yield "other name", ast.Call(ast.Name(BUILTINS[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node.func, ast.Attribute):
        name, of = node.func.attr, node.func.value
        if name in METHODS:
            yield "other name", ast.Call(ast.Attribute(of, METHODS[name], ast.Load()), node.args, node.keywords)
        if name in DROPPED and not (isinstance(of, ast.Name) and of.id in ("torch", "math", "numpy")):
            yield "dropped call", of
