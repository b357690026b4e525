"""Nearest neighbours against sorting all distances; parts of a graph and the edges that join them."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from pushforward.solvers import neighbours
from pushforward.solvers.graph_parts import bridges, parts_of
from pushforward.solvers.neighbours import nearest_neighbours


@pytest.mark.parametrize(("n", "d", "k"), [(200, 3, 7), (120, 90, 16), (9, 2, 8), (2, 1, 1)])
@pytest.mark.parametrize("block", [1 << 23, 500])
def test_they_are_those_of_a_full_sort(n: int, d: int, k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)) + 50
    index, squared = nearest_neighbours(x, k)
    full = torch.cdist(x.double(), x.double()).fill_diagonal_(torch.inf)
    best = full.sort(dim=1)
    assert torch.equal(index, best.indices[:, :k])
    assert torch.allclose(squared, best.values[:, :k].square(), rtol=1e-5)


def test_queries_may_be_rows_themselves() -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    index, squared = nearest_neighbours(x, 3, queries=x[10:20])
    assert torch.equal(index[:, 0], torch.arange(10, 20))
    assert (squared[:, 0] == 0).all()
    assert nearest_neighbours(x, 50, queries=x[:1])[0].shape == (1, 50)


def test_copies_have_distance_zero_and_near_points_are_told_apart() -> None:
    x = torch.tensor([[1e4, 0.0], [1e4, 0.0], [1e4 + 0.0625, 0.0], [1e4 + 0.1875, 0.0], [0.0, 0.0]])
    index, squared = nearest_neighbours(x, 2)
    assert index[:3].tolist() == [[1, 2], [0, 2], [0, 1]] or sorted(index[2].tolist()) == [0, 1]
    assert squared[:2, 0].tolist() == [0, 0]
    assert squared[3].tolist() == pytest.approx([0.125**2, 0.1875**2])


@pytest.mark.parametrize("own", [True, False])
def test_faiss_finds_the_same_neighbours(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    x = torch.randn(2500, 80, generator=torch.Generator().manual_seed(0)) + 20
    x[1500:1600] = x[:100]
    queries = None if own else x[:300] + 0.1
    used = nearest_neighbours(x, 12, queries=queries)
    monkeypatch.setattr(neighbours, "find_faiss", lambda: None)
    exact = nearest_neighbours(x, 12, queries=queries)
    assert torch.equal(used[1], exact[1])
    assert torch.equal(x[used[0]], x[exact[0]])  # of equal rows either may be named


def test_more_copies_than_candidates_are_all_at_distance_zero() -> None:
    x = torch.cat([torch.ones(60, 90), torch.randn(2000, 90, generator=torch.Generator().manual_seed(0))])
    index, squared = nearest_neighbours(x, 5)
    assert (squared[:60] == 0).all()
    assert (index != torch.arange(len(x))[:, None]).all()


def test_another_module_of_the_name_is_not_taken_for_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", ModuleType("faiss"))
    assert neighbours.find_faiss() is None
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert neighbours.find_faiss() is None


@pytest.mark.parametrize("k", [0, 5, -1])
def test_a_number_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k: must be from 1 to 4 for 5 rows"):
        nearest_neighbours(torch.zeros(5, 2), k)


def test_values_that_are_not_finite_are_refused() -> None:
    x = torch.zeros(5, 2)
    x[1, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        nearest_neighbours(x, 2)


def test_bridges_are_the_shortest_edges_between_parts() -> None:
    x = torch.tensor([[0.0], [1.0], [5.0], [6.0], [20.0], [21.0], [22.0]])
    graph = csr_matrix((np.ones(4), ([0, 2, 4, 5], [1, 3, 5, 6])), shape=(7, 7))
    count, labels = parts_of(graph + graph.T)
    assert count == 3
    rows, columns = bridges(x, labels)
    pairs = {frozenset(pair) for pair in zip(rows.tolist(), columns.tolist(), strict=True)}
    assert pairs == {frozenset({1, 2}), frozenset({3, 4})}
    joined = graph + csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(7, 7))
    assert parts_of(joined)[0] == 1


def test_many_parts_are_joined_into_one() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(90, 3)))
    labels = np.arange(90) // 3
    rows, columns = bridges(x, labels)
    edges = (np.concatenate([rows, np.arange(90)]), np.concatenate([columns, labels * 3]))
    assert parts_of(csr_matrix((np.ones(len(edges[0])), edges), shape=(90, 90)))[0] == 1
    assert len(rows) < 60
