"""The section on what the critic says of the distance between samples and data, for methods that have read its flux."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from pushforward.report.material import Material
from pushforward.report.numbers import number, percent
from pushforward.report.page import Section, definitions, join, paragraph

CLOSED = 0.2  # residual up to which the flow counts as carrying one law to the other
_NEEDED = ("flux", "congestion", "congestion_share", "flux_residual")


def critic_distance(material: Material) -> Section | None:
    """The flux as the estimate of W1, with its residual and the share of congestion; None for methods without them."""
    method: Any = material.method
    found = {name: float(method.validation_.get(name, math.nan)) for name in _NEEDED}
    if not all(map(math.isfinite, found.values())):
        return None
    one_sided = bool(method.params_.get("one_sided", True))
    body = join(
        paragraph(
            "A critic with a gradient penalty does not compute the Wasserstein-1 distance W1 but a congested transport (arXiv 2109.00528). "
            "The flux of that transport is the reading of W1: it is W1 on a line and at least W1 elsewhere. The difference of the "
            "critic's means is larger, by twice the congestion, and is not shown."
        ),
        definitions(
            {
                "Flux, the estimate of W1": number(found["flux"]),
                "Residual": number(found["flux_residual"]),
                "Congestion": number(found["congestion"]),
                "Share of congestion": percent(found["congestion_share"]),
            }
        ),
        _verdict(found["flux_residual"], one_sided),
    )
    return Section("Distance by the critic", "critic-distance", body)


def _verdict(residual: float, one_sided: bool) -> Markup:
    """Whether the number can be used, in words."""
    told = (
        f"The residual is {number(residual)}: the critic's flow carries the data to the samples, so the flux can be used."
        if residual <= CLOSED
        else f"The residual is {number(residual)}, above {number(CLOSED)}: the critic's flow does not carry the data to the samples "
        "(or the two are as near as so few rows can tell), so the flux is no estimate of W1 here."
    )
    theorem = (
        ""
        if one_sided
        else " This critic was trained with the two-sided penalty, for which there is no such theorem: take the flux as a rough guide, "
        "and fit with one_sided=True for a reading."
    )
    return paragraph(
        told + theorem + " Measured on held-out rows and as many samples, on the encoded scale of the schema.", "note"
    )
