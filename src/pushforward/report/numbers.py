"""Numbers as people read them: three significant digits, thousands apart, seconds and minutes."""

from __future__ import annotations

import math


def number(value: object) -> str:
    """``value`` for reading: integers with thousands apart, other numbers with three significant digits."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return "–" if value is None else str(value)
    return _real(float(value))


def _real(value: float) -> str:
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "\u2212")
    return _three_digits(value).replace("-", "\u2212")


def _three_digits(value: float) -> str:
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    if size >= 1000:
        return f"{value:,.0f}"
    places = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{places}f}"


def tick(value: float) -> str:
    """A short label for an axis: 0.05, 2.5, 12k, 1e-5 (at most about six characters)."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e7 or size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    elif size >= 10_000:
        text = f"{value / 1000:.6g}k" if size < 1e6 else f"{value / 1e6:.6g}M"
    else:
        text = f"{value:.6g}"
    return text.replace("-", "\u2212")


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage: 0.125 -> "12.5 %"; tiny but not zero -> "<0.1 %"."""
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    places = 0 if share >= 0.1 or share == 0 else 1
    return f"{100 * share:.{places}f} %"


def duration(seconds: float) -> str:
    """Seconds as "0.42 s", "42 s", "3 min 20 s" or "2 h 5 min"."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shorten(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, the cut shown by an ellipsis."""
    return text if len(text) <= limit else text[: max(1, limit - 1)].rstrip() + "…"


def people(authors: str) -> str:
    """Authors as BibTeX joins them, for reading: "A and B and C" -> "A, B and C"."""
    names = authors.split(" and ")
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def words(name: str) -> str:
    """An identifier as words: "assignment_change" -> "Assignment change"."""
    spaced = name.replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]
