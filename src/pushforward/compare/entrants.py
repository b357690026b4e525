"""Who takes part in a comparison: methods by name, or configured ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.method import Method, find_method, registry
from pushforward.run import checked_seed

_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Entrant:
    """A method as another process can make it.

    Attributes:
        label: the method with the parameters that differ from its defaults.
        key: for names of files.
        module: where its class is imported from.
        name: of the class in there.
        parameters: of its constructor, in plain types.
    """

    label: str
    key: str
    module: str
    name: str
    parameters: dict[str, Any]


def entrants_of(methods: Iterable[str | Method | type[Method]] | None, kind: str) -> list[Entrant]:
    """The methods that are named; None stands for all that take this kind of data.

    Raises:
        ValueError: an unknown name, nobody, somebody twice, or parameters that cannot be given to another process.
    """
    if methods is None:
        methods = [cls for _, cls in sorted(registry().items()) if kind in cls.kinds]
    if isinstance(methods, (str, Method, type)):
        methods = [methods]
    if not isinstance(methods, Iterable):
        raise ValueError(f"methods: names of methods, or methods, are needed, got {methods!r}.")
    found = [_entrant(_made(method)) for method in methods]
    labels = [entrant.label for entrant in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"methods: {twice} is named twice; name every method once.")
    if not found:
        raise ValueError("methods: none is named; name at least one, or leave it out for all that take these data.")
    return found


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """``3`` stands for the seeds 0, 1 and 2.

    Raises:
        ValueError: none, or one of them twice.
    """
    if isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds: at least one is needed, got {seeds}.")
        return list(range(int(seeds)))
    if not isinstance(seeds, (list, tuple, range, np.ndarray)) or not len(seeds):
        raise ValueError(f"seeds: a number of seeds, or a list of them, is needed, got {seeds!r}.")
    found = [checked_seed(seed) for seed in seeds]
    if len(set(found)) < len(found):
        raise ValueError(f"seeds: {found} names a seed twice.")
    return found


def _made(method: object) -> Method:
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        return method()
    if not isinstance(method, str):
        raise ValueError(f"methods: names of methods, or methods, are needed, got {method!r}.")
    return find_method(method)()


def _entrant(method: Method) -> Entrant:
    cls = type(method)
    text = repr(method)
    label = text.removesuffix("()")
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        raise ValueError(
            f"methods: {label} is defined in the running program, and every fit has a process of its own. Fix: put the class "
            "into a module that can be imported."
        )
    parameters = {name: _plain(value, name, label) for name, value in method.get_params().items()}
    key = cls.__name__.lower().strip("_")
    if label != cls.__name__:
        key += "-" + hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    return Entrant(label, key, cls.__module__, cls.__qualname__, parameters)


def _plain(value: Any, name: str, label: str) -> Any:
    """A parameter in plain types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(part, name, label) for part in value]
    if isinstance(value, _PLAIN):
        return value
    raise ValueError(
        f"methods: {name} of {label} is a {type(value).__name__}, and every fit has a process of its own, which objects "
        "cannot be given to. Fix: use numbers, texts or lists of them, or build the object inside the method."
    )
