"""Patches: round trips, the paper's schedules, and layers that are their own inverse's inverse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pushforward.patches import Patch, PatchLayers, patch_index, put_patches, schedule, sides, take_patches
from pushforward.solvers.compact_splines import pack, unpack
from pushforward.solvers.rational_quadratic import Spline, strictly_increasing, transform, values
from pushforward.solvers.slices import random_frames

SHAPES = [(1, 28, 28), (3, 9, 7), (1, 5, 8), (2, 4, 4)]


def columns(event_shape: tuple[int, ...], n: int = 5) -> Tensor:
    return torch.randn(n, *event_shape, generator=torch.Generator().manual_seed(0)).flatten(1).T.contiguous()


def stack(event_shape: tuple[int, ...], patch: Patch, classes: int = 1, layers: int = 3, knots: int = 9) -> PatchLayers:
    """Layers with random frames and splines that bend a lot."""
    generator = torch.Generator().manual_seed(1)
    made = PatchLayers(event_shape, patch, classes)
    shape = (len(patch_index(event_shape, patch, (0, 0))), patch.slices, classes, knots)
    for _ in range(layers):
        frame = random_frames(shape[0], patch.size, patch.slices, generator)
        x, y = (torch.randn(shape, generator=generator).sort(dim=-1).values for _ in range(2))
        made.add(made.draw_shift(generator), frame, Spline(x, x + 0.2 * (y - x), x))
    return made


@pytest.mark.parametrize("event_shape", SHAPES)
@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize("every", [True, False])
def test_patches_go_back_to_their_places(event_shape: tuple[int, ...], side: int, every: bool) -> None:
    c, h, w = event_shape
    patch = Patch(c if every else 1, side, side, 1, 1)
    for shift in ((0, 0), (1, 2), (h - 1, w - 1)):
        index, x = patch_index(event_shape, patch, shift), columns(event_shape)
        assert index.shape == ((1 if every else c) * (h // side) * (w // side), patch.size)
        assert len(index.unique()) == index.numel()  # no number is in two patches
        assert torch.equal(put_patches(x, index, take_patches(x, index)), x)
        moved = put_patches(x, index, take_patches(x, index) + 1) - x
        assert int((moved > 0.5).sum()) == index.numel() * 5  # what is left over stays


def test_patches_are_squares_that_go_around_the_border() -> None:
    x = torch.arange(2 * 5 * 4.0).reshape(2, 5, 4)
    index = patch_index((2, 5, 4), Patch(2, 2, 2, 1, 1), (4, 3))
    rolled = x.roll((-4, -3), (1, 2))
    taken = take_patches(x.reshape(-1, 1), index)[:, :, 0]
    wanted = rolled[:, :4].unfold(1, 2, 2).unfold(2, 2, 2).permute(1, 2, 0, 3, 4).reshape(4, 8)
    assert torch.equal(taken, wanted)


def test_a_whole_row_is_one_patch_without_a_copy() -> None:
    x = columns((1, 6, 6))
    index = patch_index((1, 6, 6), Patch(1, 6, 6, 2, 1), (0, 0))
    assert take_patches(x, index).data_ptr() == x.data_ptr()


def test_the_schedules_are_those_of_the_paper() -> None:
    grey = schedule((1, 28, 28))
    assert [p.height for p in grey] == [28, 14, 7, 6, 5, 4, 3, 2]
    assert [p.slices for p in grey] == [56, 28, 14, 12, 10, 8, 6, 4]
    assert 100 * sum(p.share for p in grey) == 800
    small = [(side, c) for side in range(8, 1, -1) for c in (3, 1)]
    cifar, celeba = schedule((3, 32, 32)), schedule((3, 64, 64))
    assert [(p.height, p.channels) for p in cifar] == [(32, 3), (16, 3), *small]
    assert [(p.height, p.channels) for p in celeba] == [(64, 3), (32, 3), (16, 3), *small]
    assert 100 * sum(p.share for p in cifar) == 2500
    assert 100 * sum(p.share for p in celeba) == 2700
    assert [p.slices for p in cifar[:4]] == [64, 32, 16, 8]


def test_schedules_of_other_shapes() -> None:
    assert [(p.height, p.width) for p in schedule((1, 9, 7))] == [(9, 7), *((side, side) for side in (6, 5, 4, 3, 2))]
    assert schedule((1, 28, 28), hierarchy=False) == schedule((1, 28, 28))[:1]
    assert [p.size for p in schedule((13,))] == [13]
    assert schedule((784,))[0].slices == 56
    assert sides(2) == []
    for event_shape in ((1, 1, 1), (3, 2, 2), (1, 1, 9), (3, 5, 40)):
        assert all(1 <= p.slices <= p.size for p in schedule(event_shape))


@pytest.mark.parametrize(
    ("event_shape", "patch", "classes"),
    [((5,), Patch(1, 1, 5, 3, 1), 1), ((1, 4, 5), Patch(1, 2, 2, 3, 1), 1), ((2, 3, 3), Patch(1, 2, 2, 4, 1), 2)],
    ids=["vectors", "images", "classes"],
)
def test_layers_have_an_inverse_and_its_log_determinant(
    event_shape: tuple[int, ...], patch: Patch, classes: int
) -> None:
    layers = stack(event_shape, patch, classes).double()
    z = torch.randn(6, *event_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(6) % 2 if classes > 1 else None
    x = layers(z, labels)
    assert (x - z).abs().max() > 0.05
    back, log_det = layers.inverse_and_log_det(x, labels)
    torch.testing.assert_close(back, z, atol=1e-5, rtol=0)
    for i in range(6):
        label = labels[i : i + 1] if labels is not None else None
        row = z[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda one, label=label: layers(one, label), row)
        size = row.numel()
        assert float(torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet + log_det[i]) == pytest.approx(
            0, abs=1e-4
        )


def test_classes_have_splines_of_their_own_and_share_directions() -> None:
    layers = stack((1, 4, 4), Patch(1, 2, 2, 2, 1), classes=3, layers=1)
    z = torch.randn(30, 1, 4, 4)
    labels = torch.arange(30) % 3
    for c in range(3):
        alone = PatchLayers((1, 4, 4), Patch(1, 2, 2, 2, 1))
        alone.load_state_dict(
            layers.state_dict() | {n: layers.get_buffer(n)[:, :, :, c : c + 1] for n in ("starts", "steps")}
        )
        torch.testing.assert_close(alone(z[labels == c]), layers(z, labels)[labels == c])


def test_layers_are_stored_small_and_read_back_with_any_number_of_layers() -> None:
    layers = stack((1, 6, 6), Patch(1, 3, 3, 4, 1), knots=50)
    assert layers.steps.dtype == torch.float16
    again = PatchLayers((1, 6, 6), Patch(1, 3, 3, 4, 1))
    again.load_state_dict(layers.state_dict())
    z = torch.randn(4, 1, 6, 6)
    assert len(again) == 3
    assert torch.equal(again(z), layers(z))


def test_packed_knots_increase_even_where_a_law_has_an_atom() -> None:
    x = torch.cat([torch.full((60,), -1.0), torch.linspace(-1, 1, 40)])
    y = torch.cat([torch.linspace(-4, 4, 50), torch.full((50,), 4.0)])
    spline = unpack(*pack(x, y))
    assert bool((spline.x.diff() > 0).all() and (spline.y.diff() > 0).all())
    assert float((spline.x - x).abs().max()) < 5e-3
    assert float((spline.y - y).abs().max()) < 1e-2
    u = torch.linspace(-2, 2, 1000)
    out = values(Spline(*(part[None] for part in spline)), u[None])[0]
    assert bool(torch.isfinite(out).all() and (out.diff() >= -1e-6).all())


@pytest.mark.parametrize("count", [2, 3, 17, 100])
def test_values_alone_equal_those_with_derivatives(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    x, y = (strictly_increasing(torch.randn(2, 3, count, generator=generator).sort(dim=-1).values) for _ in range(2))
    spline = Spline(x, y, torch.rand(2, 3, count, generator=generator) + 0.5)
    u = 2 * torch.randn(2, 3, 400, generator=generator)
    torch.testing.assert_close(values(spline, u), transform(spline, u)[0], atol=2e-4, rtol=1e-4)
