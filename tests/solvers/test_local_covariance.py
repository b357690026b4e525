"""Local covariance against its definition and on a circle; the divergence against torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from pushforward.objectives.same_mean import same_mean_divergence
from pushforward.solvers.local_covariance import local_covariance
from pushforward.solvers.neighbours import nearest_neighbours


def test_it_is_the_mean_square_about_the_point() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    index = nearest_neighbours(x, 5)[0]
    gaps = x[index] - x[:, None]
    bare = torch.einsum("nki,nkj->nij", gaps, gaps) / 5
    least = 0.01 * bare.diagonal(dim1=1, dim2=2).mean(1).median()
    assert torch.allclose(local_covariance(x, index, floor=0.01), bare + least * torch.eye(3).double())
    assert torch.linalg.cholesky_ex(local_covariance(x, index[:, :1])).info.max() == 0


def test_on_a_circle_it_points_along_the_circle() -> None:
    t = torch.rand(1500, generator=torch.Generator().manual_seed(0)).double() * 2 * math.pi
    x = math.sqrt(2) * torch.stack([t.cos(), t.sin()], 1)
    covariance = local_covariance(x, nearest_neighbours(x, 16)[0])
    radial, tangent = x / x.norm(dim=1, keepdim=True), torch.stack([-t.sin(), t.cos()], 1)
    spread = [torch.einsum("ni,nij,nj->n", v, covariance, v).sqrt() for v in (tangent, radial)]
    assert float((spread[0] / spread[1]).median()) > 5


def test_a_floor_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="floor: must be positive"):
        local_covariance(torch.randn(5, 2), torch.zeros(5, 1, dtype=torch.int64), floor=0.0)


@pytest.mark.parametrize("d", [1, 3, 10])
def test_the_divergence_is_that_of_torch(d: int) -> None:
    draw = torch.randn(2, 50, d, 2 * d, generator=torch.Generator().manual_seed(d)).double()
    first, second = torch.linalg.cholesky(draw @ draw.transpose(-1, -2))
    mean = torch.randn(50, d, generator=torch.Generator().manual_seed(1)).double()
    truth = kl_divergence(MultivariateNormal(mean, scale_tril=first), MultivariateNormal(mean, scale_tril=second))
    assert torch.allclose(same_mean_divergence(first, second), truth, atol=1e-5, rtol=1e-5)
    assert torch.allclose(same_mean_divergence(first, first), torch.zeros(50).double(), atol=1e-9)
    # the sum of singular values that stands in the published code is another number
    singular = torch.linalg.svdvals(torch.cholesky_inverse(second) @ first @ first.transpose(1, 2)).sum(1)
    wrong = 0.5 * (singular - d) + torch.linalg.slogdet(second).logabsdet - torch.linalg.slogdet(first).logabsdet
    assert d == 1 or float((wrong - truth).abs().max()) > 0.1


def test_copies_have_a_small_covariance_of_full_rank() -> None:
    x = torch.cat([torch.zeros(30, 2), torch.randn(10, 2, generator=torch.Generator().manual_seed(0))]).double()
    found = local_covariance(x, nearest_neighbours(x, 4)[0])
    assert torch.linalg.cholesky_ex(found).info.max() == 0
    assert 0 < float(found[0].diagonal().max()) < 1e-9
