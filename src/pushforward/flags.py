"""Command-line flags from a method's constructor, and back: the signature is the configuration."""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

if TYPE_CHECKING:
    from pushforward.method import Method

_FLAG_TYPES = (int, float, str, bool, type(None))


def settings_of(cls: type[Method]) -> Any:
    """A dataclass of those constructor arguments that a flag can give, with their help from the docstring."""
    hints, help_of = get_type_hints(cls.__init__), _argument_help(inspect.getdoc(cls) or "")
    fields = []
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = _flag_type(hints[name])
        if kind is not None:
            described: Any = Annotated[kind, tyro.conf.arg(help=help_of.get(name, ""))]
            fields.append((name, described, dataclasses.field(default=parameter.default)))
    return dataclasses.make_dataclass(f"{cls.__name__}Settings", fields, namespace={"__doc__": " "})


def _flag_type(hint: Any) -> Any:
    """The part of a type that a flag can give; None where nothing is left (networks, say)."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = [kind for kind in map(_flag_type, get_args(hint)) if kind is not None]
        real = [kind for kind in parts if kind is not type(None)]
        return Union[tuple(parts)] if real else None  # noqa: UP007 - built at run time
    return hint if hint in _FLAG_TYPES or get_origin(hint) is Literal else None


def flags_of(method: Method) -> list[str]:
    """The command-line flags that give this method's parameters."""
    flags: list[str] = []
    for name in (field.name for field in dataclasses.fields(settings_of(type(method)))):
        value, flag = getattr(method, name), name.replace("_", "-")
        flags += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


def _argument_help(docstring: str) -> dict[str, str]:
    """The ``Args:`` section of a Google docstring as one text a name."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Args:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     ") and ":" in line:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif name:
            found[name] += " " + line.strip()
    return {key: text.replace("``", "") for key, text in found.items()}


def first_line(cls: type[Any]) -> str:
    """The first line of what a class says about itself."""
    return (inspect.getdoc(cls) or "").splitlines()[0]
