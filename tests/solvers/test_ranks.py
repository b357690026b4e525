"""Order and ranks against torch's stable sort, on ties, zeros of both signs, infinities and NaN."""

from __future__ import annotations

import pytest
import torch

from pushforward.solvers.ranks import order_of, ranks, sort_values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1000), (2, 3, 257)])
def test_order_and_values_are_those_of_a_stable_sort(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    u = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(3).to(dtype)
    expected = torch.sort(u, dim=-1, stable=True)
    assert torch.equal(order_of(u), expected.indices)
    assert torch.equal(sort_values(u), expected.values)


def test_ties_keep_their_order_and_zeros_are_equal() -> None:
    u = torch.tensor([[0.0, -0.0, 1.0, 1.0, -torch.inf, torch.inf, -2.0, 0.0]])
    assert order_of(u).tolist() == [[4, 6, 0, 1, 7, 2, 3, 5]]
    assert ranks(u).tolist() == [[2, 3, 5, 6, 0, 7, 1, 4]]


def test_ranks_invert_the_order() -> None:
    u = torch.randint(-5, 5, (4, 300), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(ranks(u).gather(-1, order_of(u)), torch.arange(300).expand(4, -1))


def test_views_and_the_input_are_left_alone() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    before = x.clone()
    assert torch.equal(sort_values(x.T), torch.sort(x.T, dim=-1).values)
    assert torch.equal(order_of(x.T), torch.sort(x.T, dim=-1, stable=True).indices)
    assert torch.equal(x, before)


def test_not_a_number_comes_last() -> None:
    u = torch.tensor([2.0, torch.nan, -1.0])
    assert order_of(u).tolist() == [2, 0, 1]
    assert sort_values(u)[:2].tolist() == [-1.0, 2.0]
