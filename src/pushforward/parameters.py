"""Constructor arguments checked against their type hints, so that no method writes these checks again."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pushforward.errors import nearest_name


def check_parameters(owner: object, values: dict[str, Any]) -> None:
    """Refuse values that do not fit the type hints of the constructor of ``owner``.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    init: Any = type(owner).__init__
    hints = get_type_hints(init)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            close = nearest_name(value, _choices(hints[name])) if isinstance(value, str) else ""
            raise ValueError(f"{name}: must be {_described(hints[name])}, got {value!r}.{close}")


def check_positive(owner: object, *names: str) -> None:
    """Refuse attributes that are zero or below; one that is None is left to its owner.

    Raises:
        ValueError: naming the argument and its value.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name}: must be positive, got {value}.")


def check_ranges(owner: object, ranges: dict[str, tuple[float, float]], where: str = "") -> None:
    """Refuse attributes outside their range, both ends of which are allowed; one that is None is left to its owner.

    Args:
        owner: has the attributes.
        ranges: least and largest value by name.
        where: what the ranges depend on, such as ``" for 50 rows"``.

    Raises:
        ValueError: naming the argument, its range and its value.
    """
    for name, (least, most) in ranges.items():
        value = getattr(owner, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name}: must be from {least} to {most}{where}, got {value}.")


def check_decay(ema_decay: float, usual: float = 0.995) -> None:
    """Refuse a decay of a moving average outside [0, 1).

    Raises:
        ValueError: naming its value and a usual one.
    """
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay: must be in [0, 1), got {ema_decay}; try {usual}.")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return isinstance(value, (str, int, bool)) and value in get_args(hint)
    check = _CHECKS.get(hint)
    if check is not None:
        return check(value)
    return not isinstance(hint, type) or isinstance(value, hint)


_CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: not isinstance(value, bool) and isinstance(value, Integral),
    float: lambda value: not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value),
    bool: lambda value: isinstance(value, bool),
    type(None): lambda value: value is None,
}
_WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text", type(None): "None"}


def _choices(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    return [choice for part in get_args(hint) for choice in _choices(part)]


def _described(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_described(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    return _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
