"""Sparse candidates where rows are repeated: chosen between different points ("sites"), by prices from Sinkhorn on the sites.

All copies of a row have the same nearest columns, and compete for them: far more columns are in question for a row with many
copies, and nearest ones are the wrong ones. So the distances between sites are reduced by potentials that are near the optimal
ones (``assignment_copies``), and a site with c copies looks at its NEIGHBOURS + 2 (c - 1) best columns, of which every copy
takes the best few and others by lot. The potentials then start the exact solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.solvers.assignment_copies import MOST_PAIRS, sinkhorn
from pushforward.solvers.assignment_dense import squared_distances

MOST_ENTRIES = 1 << 25
"""Distances between sites that are held at once (128 MiB); with more of them no potentials are made."""
NEIGHBOURS = 16
"""Candidates of every row."""
SURE = 4
"""The best ones of them, taken by all copies of a row."""
WIDEST = 128
"""Columns that are in question for a row, at most."""
ROWS = 4096
"""Rows that choose at a time."""


@dataclass(frozen=True)
class Sites:
    """The different points among n rows.

    Attributes:
        first: a row of each ``[s]``.
        site: the point of each row ``[n]``.
        counts: copies of each ``[s]``.
    """

    first: Tensor
    site: Tensor
    counts: Tensor

    @staticmethod
    def of(points: Tensor) -> Sites:
        """The sites of ``[n, d]``."""
        weights = torch.rand(points.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        keys = points.double() @ weights.to(points.device)
        # Rounded, because a matrix product may give equal rows keys that differ in the last bits.
        keys = (keys * (2.0**40 / keys.abs().max().clamp_min(1e-300))).round()
        _, site, counts = keys.unique(return_inverse=True, return_counts=True)
        first = site.argsort()[counts.cumsum(0) - counts]
        if torch.equal(points[first[site]], points):
            return Sites(first, site, counts)
        every = torch.arange(
            len(points), device=points.device
        )  # different points with the same key: rare, and only slower
        return Sites(every, every, torch.ones_like(every))

    def copies(self, sites: Tensor, which: Tensor) -> Tensor:
        """Rows of the given sites; ``which`` counts their copies from 0. Both have the same shape."""
        before = self.counts.cumsum(0) - self.counts
        return self.site.argsort()[before[sites] + which]


def near_by_price(x: Tensor, y: Tensor, sites_x: Sites, sites_y: Sites) -> tuple[Tensor, Tensor, Tensor] | None:
    """Candidate columns of each row ``[n, k]``, candidate rows of each column ``[n, k]``, and column potentials ``[n]``.

    None where there are few copies, or too many sites to hold their distances.

    Args:
        x: centred points ``[n, d]``, float32.
        y: centred points ``[n, d]``, float32.
        sites_x: those of ``x``.
        sites_y: those of ``y``.
    """
    entries = len(sites_x.first) * len(sites_y.first)
    if entries > MOST_PAIRS * len(x) ** 2 or entries > MOST_ENTRIES:
        return None
    between = squared_distances(x[sites_x.first], y[sites_y.first])
    found = sinkhorn(between.cpu().numpy(), sites_x.counts.cpu().numpy(), sites_y.counts.cpu().numpy())
    v = (between - torch.from_numpy(found).to(x.device)[:, None]).amin(0)
    u = (between - v).amin(1)
    if not bool(v.isfinite().all() and u.isfinite().all()):
        return None
    generator = torch.Generator(x.device).manual_seed(0)
    ahead = _chosen(between - v, sites_x, sites_y, generator)
    back = _chosen(between.T - u, sites_y, sites_x, generator)
    return ahead, back, v[sites_y.site]


def _chosen(reduced: Tensor, own: Sites, other: Sites, generator: torch.Generator) -> Tensor:
    """Rows of the other side for each row of this one ``[n, k]``, by reduced costs between sites ``[s, t]``."""
    n, device = len(own.site), reduced.device
    widths = (NEIGHBOURS + 2 * (own.counts - 1)).clamp_max(min(WIDEST, n))
    widest = int(widths.max())
    near = reduced.topk(min(widest, reduced.shape[1]), dim=1, largest=False).indices
    ends = other.counts[near].cumsum(1)
    chosen = []
    for site in own.site.split(ROWS):
        # The slots of a row are its columns in the order of their sites, copies counted.
        order = torch.rand(len(site), widest, generator=generator, device=device)
        order[:, :SURE] -= 1
        order[torch.arange(widest, device=device) >= widths[site, None]] = torch.inf
        slots = order.topk(min(NEIGHBOURS, n), dim=1, largest=False).indices
        place = torch.searchsorted(ends[site], slots, right=True)
        target, end = near[site].gather(1, place), ends[site].gather(1, place)
        counts = other.counts[target]
        turn = torch.rand(len(site), 1, generator=generator, device=device) * counts  # copies are taken in turn
        chosen.append(other.copies(target, (slots - end + counts + turn.long()) % counts))
    return torch.cat(chosen)
