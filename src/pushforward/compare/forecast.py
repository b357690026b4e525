"""How long a comparison will take, from the budget and from what its fits have taken so far."""

from __future__ import annotations

from collections.abc import Iterable

from pushforward.budget import Budget
from pushforward.compare.results import Result


class Forecast:
    """Expected wall seconds of fits.

    Args:
        budget: of each fit.
        overhead: seconds that a fit takes beyond its budget: to start, to draw samples, to measure them.
    """

    def __init__(self, budget: Budget, overhead: float) -> None:
        self._limit, self._overhead = budget.seconds, overhead
        self._totals: dict[str, list[float]] = {}
        self._good: list[float] = []

    def learn(self, result: Result) -> None:
        """Take a finished fit into account."""
        if "total_seconds" in result.facts:
            self._totals.setdefault(result.label, []).append(result.facts["total_seconds"])
            self._good += [result.facts["total_seconds"]] if not result.failed else []

    def of(self, label: str) -> float | None:
        """Seconds of the next fit of this method; None where nothing is known yet."""
        known = self._totals.get(label) or self._good
        if known:
            return sum(known) / len(known)
        return None if self._limit is None else self._limit + self._overhead

    def of_all(self, labels: Iterable[str]) -> float | None:
        """Seconds of all these fits together."""
        expected = [self.of(label) for label in labels]
        return None if None in expected else sum(seconds for seconds in expected if seconds is not None)
