"""Parameters of a chapter: what its `parameters` cell declares, and whether given values fit."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.catalogue import mapping, read_yaml
from tools.errors import BookError, listing

SIMPLE = (bool, int, float, str)
# Of papermill's options those that give parameters, and what its command line needs besides.
TAKEN = ("parameters", "parameters_raw", "parameters_file", "parameters_yaml", "notebook_path", "output_path")
OPTIONS = "-p NAME VALUE, -r NAME TEXT, -y YAML, -f FILE"
# A number that YAML 1.1 takes for text, since it has no point or no sign in its exponent.
NUMBER = re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+")


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
    """The given values, an int or a text like `1e-3` turned into a float where the default is one.

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
    if kind is float and (type(value) is int or (isinstance(value, str) and NUMBER.fullmatch(value))):
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
    from click.core import ParameterSource

    # The only place where papermill says which type a value has.
    from papermill.cli import _resolve_type as resolve
    from papermill.cli import papermill
    from yaml import YAMLError, safe_load

    where = f"parameters {' '.join(arguments)!r}"
    try:
        context = papermill.make_context("papermill", ["in.ipynb", "out.ipynb", *arguments])
    except click.ClickException as error:
        raise BookError(f"{where}: {error.format_message()}; allowed: {OPTIONS}") from None
    # Help or the version, which papermill has printed.
    except click.exceptions.Exit:
        raise BookError(f"{where} hold no parameter; allowed: {OPTIONS}") from None
    given = context.params
    dropped = [
        option.opts[0]
        for option in papermill.params
        if option.name not in TAKEN and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if dropped:
        raise BookError(f"{where}: {listing(dropped)} of papermill is not taken here; allowed: {OPTIONS}")
    parts: list[Any] = [read_yaml(Path(path)) for path in given["parameters_file"] or ()]
    try:
        parts += [safe_load(text) or {} for text in given["parameters_yaml"] or ()]
    except YAMLError as error:
        raise BookError(f"{where} are not YAML: {error}") from None
    parts.append({name: resolve(value) for name, value in given["parameters"] or ()})
    parts.append(dict(given["parameters_raw"] or ()))
    parts = [mapping(part, where) for part in parts]
    return {name: value for part in parts for name, value in part.items()}
