"""Parameters of a chapter: what its `parameters` cell declares, and whether given values fit."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from tools.errors import BookError, listing

SIMPLE = (bool, int, float, str)


def declared(source: str, chapter: str) -> dict[str, Any]:
    """Names and defaults that the `parameters` cell assigns, in order.

    Raises `BookError` where the cell holds anything but assignments of literals to names.
    """
    values: dict[str, Any] = {}
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise BookError(f"{chapter}: the parameters cell is not Python: {error.msg}, line {error.lineno}") from None
    for statement in statements:
        target, value = assignment(statement)
        if target is None or value is None:
            raise BookError(
                f"{chapter}: the parameters cell may hold only `name = literal`, got `{ast.unparse(statement)}`"
            )
        try:
            values[target] = ast.literal_eval(value)
        except ValueError:
            raise BookError(
                f"{chapter}: the default of parameter {target} must be a literal, got `{ast.unparse(value)}`"
            ) from None
    return values


def assignment(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """Name and value of a statement that assigns to a single name, None for what it does not have."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return None, None
    return (target.id, statement.value) if isinstance(target, ast.Name) else (None, None)


def validate(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given values, an int turned into a float where the default is one.

    Raises `BookError` for a name that the chapter does not declare and for a value of another type than the default's.
    """
    return {name: _fit(name, value, defaults, where) for name, value in given.items()}


def _fit(name: str, value: Any, defaults: Mapping[str, Any], where: str) -> Any:
    if name not in defaults:
        raise BookError(f"{where}: unknown parameter {name!r}; allowed: {listing(defaults)}")
    default = defaults[name]
    if isinstance(default, tuple):
        default = list(default)
    if isinstance(value, tuple):
        value = list(value)
    if default is None:
        return value
    if isinstance(default, list):
        return _fit_list(name, value, default, where)
    return _fit_simple(name, value, type(default), where)


def _fit_list(name: str, value: Any, default: list[Any], where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BookError(f"{where}: parameter {name} must be of type list (default {default!r}), got {value!r}")
    kinds = {type(element) for element in default}
    if len(kinds) != 1 or not kinds <= set(SIMPLE):
        return value
    (kind,) = kinds
    return [_fit_simple(f"{name}[{index}]", element, kind, where) for index, element in enumerate(value)]


def _fit_simple(name: str, value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise BookError(
            f"{where}: parameter {name} must be of type {kind.__name__}, got {value!r} of type {type(value).__name__}"
        )
    return value


def from_command_line(arguments: Sequence[str]) -> dict[str, Any]:
    """Values of papermill's own options -p, -r, -y and -f, read and typed by papermill.

    Raises `BookError` where papermill does not understand them or another of its options is given.
    """
    import click

    # The only place where papermill says which type a value has.
    from papermill.cli import _resolve_type as resolve
    from papermill.cli import papermill
    from papermill.iorw import read_yaml_file
    from yaml import YAMLError, safe_load

    try:
        given = papermill.make_context("papermill", ["in.ipynb", "out.ipynb", *arguments]).params
    except click.ClickException as error:
        raise BookError(f"parameters {' '.join(arguments)!r}: {error.format_message()}") from None
    parts: list[dict[str, Any]] = [read_yaml_file(path) or {} for path in given["parameters_file"] or ()]
    try:
        parts += [safe_load(text) or {} for text in given["parameters_yaml"] or ()]
    except YAMLError as error:
        raise BookError(f"parameters {' '.join(arguments)!r} are not YAML: {error}") from None
    parts.append({name: resolve(value) for name, value in given["parameters"] or ()})
    parts.append(dict(given["parameters_raw"] or ()))
    if not all(isinstance(part, dict) for part in parts):
        raise BookError(f"parameters {' '.join(arguments)!r}: YAML must hold `name: value`")
    return {name: value for part in parts for name, value in part.items()}
