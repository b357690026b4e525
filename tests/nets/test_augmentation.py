"""Augmentation for critics: every change against a closed form, frequencies, the controller, and that nothing leaks."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from pushforward import nets
from pushforward.augmentation import PRESETS, AdaptiveAugmentation, preset_for
from pushforward.nets.augment import (
    GEOMETRIES,
    SYM6,
    Chance,
    blit,
    draw_blit,
    draw_colour,
    draw_inverse_map,
    recolour,
    warp,
)
from pushforward.nets.augment.geometry import rotation, scaling, translation
from pushforward.objectives.critics import dual_terms
from pushforward.objectives.overfitting import r_auc, r_t, r_v
from pushforward.objectives.penalties import interpolates, slopes, two_sided_penalty


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(*shape, generator=seeded(seed), dtype=torch.float64) - 1


def at(p: float, shape: tuple[int, ...], transforms=None, **named) -> AdaptiveAugmentation:
    change = AdaptiveAugmentation(shape, transforms=transforms, **named)
    change.p.fill_(p)
    return change


def chance(n: int, p: float, seed: int = 0) -> Chance:
    return Chance(n, torch.tensor(p, dtype=torch.float64), seeded(seed), torch.float64)


def of(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# ---------------------------------------------------------------------- the filter


def test_sym6_is_the_most_linear_orthogonal_filter_with_six_vanishing_moments() -> None:
    taps = np.array(SYM6)
    for shift in range(6):
        assert taps[: 12 - 2 * shift] @ taps[2 * shift :] == pytest.approx(float(shift == 0), abs=1e-14)
    alternating = taps * (-1.0) ** np.arange(12)
    moments = [alternating @ (np.arange(12) - 5.5) ** m for m in range(6)]
    assert taps.sum() == pytest.approx(math.sqrt(2), abs=1e-14)
    assert np.abs(moments).max() < 1e-10
    assert bend(taps) == pytest.approx(min(bend(other) for other in daubechies_family()), rel=1e-4)


def daubechies_family() -> list[np.ndarray]:
    """All real filters with twelve taps and six vanishing moments: one root of each reciprocal pair of the Daubechies polynomial."""
    roots = np.roots([math.comb(5 + k, k) for k in range(6)][::-1])
    upper = [y for y in roots if y.imag > -1e-9]
    found = []
    for picks in itertools.product([0, 1], repeat=len(upper)):
        z = [-1.0] * 6
        for pick, y in zip(picks, upper, strict=True):
            root = sorted(np.roots([1, 4 * y - 2, 1]), key=abs)[pick]
            z += [root] if abs(y.imag) < 1e-9 else [root, root.conjugate()]
        found.append(np.real(np.poly(z)))
    return found


def bend(taps: np.ndarray) -> float:
    """How far the phase is from a straight line through the origin."""
    w = np.linspace(0.01, 0.98 * np.pi, 300)
    phase = np.unwrap(np.angle(np.exp(-1j * np.outer(w, np.arange(12))) @ taps))
    return float(np.abs(phase - w * (w @ phase) / (w @ w)).max())


# ---------------------------------------------------------------------- geometry and pixels


def smooth(size: int = 64) -> Tensor:
    """A few wide bumps, ``[1, 2, size, size]``."""
    place = torch.stack(torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 2, indexing="ij"))
    bumps = [(0.4, 0.45, 9.0, 0.8), (0.6, 0.7, 11.0, -0.6), (0.3, 0.7, 10.0, 0.5)]
    whole = [
        a * torch.exp(-((place[0] - y * size) ** 2 + (place[1] - x * size) ** 2) / (2 * s**2)) for y, x, s, a in bumps
    ]
    return torch.stack([sum(whole), whole[0] - whole[1]])[None]


MAPS = {
    "turned": rotation(of(0.7)),
    "smaller": scaling(of(1.25), of(1.25)),
    "stretched": scaling(of(0.8), of(1.25)),
    "moved": translation(of(3.3), of(-2.6)),
    "all": translation(of(-4.2), of(1.7)) @ rotation(of(-2.0)) @ scaling(of(0.9), of(1.1)) @ rotation(of(0.4)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_warp_is_that_of_scipy(name: str) -> None:
    x, inverse, size, border = smooth(), MAPS[name], 64, 20
    swap = np.array([[0, 1], [1, 0]])  # scipy counts rows first
    linear = swap @ inverse[0, :2, :2].numpy() @ swap
    centre = np.full(2, (size - 1) / 2)
    offset = centre + inverse[0, :2, 2].numpy()[::-1] - linear @ centre
    wanted = [ndimage.affine_transform(plane.numpy(), linear, offset, order=5, mode="mirror") for plane in x[0]]
    inner = slice(border, size - border)
    found = warp(x, inverse)[0, :, inner, inner]
    assert np.abs(found.numpy() - np.stack(wanted)[:, inner, inner]).max() < 1e-3


@pytest.mark.parametrize("shape", [(3, 2, 6, 9), (2, 1, 1, 1), (2, 3, 2, 5)])
def test_the_warp_that_does_nothing_gives_any_image_back(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    assert (warp(x, torch.eye(3, dtype=x.dtype).expand(len(x), 3, 3)) - x).abs().max() < 1e-12


def test_a_warp_by_whole_pixels_is_exact_and_reflects() -> None:
    x = images(1, 1, 7, 7)
    moved = warp(x, translation(of(-2.0), of(0.0)))
    assert (moved[..., 2:] - x[..., :-2]).abs().max() < 1e-12
    assert (moved[..., :2] - x[..., 1:3].flip(3)).abs().max() < 0.06  # the filter is not quite symmetric


def test_mirror_turn_and_shift_are_exact() -> None:
    x, still = images(5, 2, 6, 6), torch.zeros(5, dtype=torch.int64)
    none = still[:, None].expand(-1, 2)
    assert torch.equal(blit(x, still + 1, still, none), x.flip(3))
    turns = torch.tensor([0, 1, 2, 3, 1])
    wanted = torch.stack([image.rot90(int(k), (1, 2)) for image, k in zip(x, turns, strict=True)])
    assert torch.equal(blit(x, still, turns, none), wanted)
    shifted = blit(x, still, still, torch.tensor([[2, -1]]).expand(5, 2))
    assert torch.equal(shifted[:, :, 2:, :-1], x[:, :, :-2, 1:])
    assert torch.equal(shifted[:, :, 2:, -1], x[:, :, :-2, -2])  # the mirror of what is beyond the border
    both = blit(x, still + 1, still + 1, torch.tensor([[1, 0]]).expand(5, 2))
    assert torch.equal(both[:, :, 1:], x.flip(3).rot90(1, (2, 3))[:, :, :-1])


def test_an_oblong_image_is_turned_by_half_turns_only() -> None:
    x = images(40, 1, 4, 6)
    turned = blit(x, *draw_blit(frozenset({"turn"}), chance(40, 0.99), 4, 6))
    upright, over = [(turned == other).flatten(1).all(1) for other in (x, x.rot90(2, (2, 3)))]
    assert bool((upright | over).all())
    assert upright.any()
    assert over.any()


# ---------------------------------------------------------------------- colour


def colour(name: str, c: int, x: Tensor, seed: int = 0) -> Tensor:
    return recolour(x, draw_colour(frozenset({name}), chance(len(x), 0.999999, seed), c))


def test_brightness_and_contrast_on_any_number_of_channels() -> None:
    x = images(6, 5, 3, 3)
    added = (colour("brightness", 5, x) - x).flatten(1)
    assert (added - added[:, :1]).abs().max() < 1e-12
    factor = (colour("contrast", 5, x) / x).flatten(1)
    assert (factor / factor[:, :1] - 1).abs().max() < 1e-9
    assert factor.min() > 0
    assert all(torch.equal(colour(name, 5, x), x) for name in ("luma", "hue", "saturation"))


def test_luma_hue_and_saturation_keep_what_they_must() -> None:
    x = images(50, 3, 2, 2)
    grey, rest = x.mean(1, keepdim=True), x - x.mean(1, keepdim=True)
    flipped = colour("luma", 3, x)
    assert (flipped - flipped.mean(1, keepdim=True) - rest).abs().max() < 1e-12
    ratio = (flipped.mean(1, keepdim=True) / grey).flatten(1)[:, 0]
    assert set(ratio.round(decimals=6).tolist()) == {-1.0, 1.0}
    turned = colour("hue", 3, x)
    assert (turned.mean(1, keepdim=True) - grey).abs().max() < 1e-12
    assert (turned.norm(dim=1) - x.norm(dim=1)).abs().max() < 1e-12
    assert (turned - x).flatten(1).norm(dim=1).min() > 1e-3
    dull = colour("saturation", 3, x)
    assert (dull.mean(1, keepdim=True) - grey).abs().max() < 1e-12
    assert (torch.cosine_similarity((dull - grey).flatten(1), rest.flatten(1)) - 1).abs().max() < 1e-9


def test_one_channel_has_no_hue_and_a_luma_flip_is_the_negative() -> None:
    x = images(40, 1, 3, 3)
    assert all(torch.equal(colour(name, 1, x), x) for name in ("hue", "saturation"))
    same, negative = [(colour("luma", 1, x) - sign * x).flatten(1).abs().amax(1) < 1e-12 for sign in (1, -1)]
    assert bool((same ^ negative).all())
    assert 10 < int(negative.sum()) < 30


# ---------------------------------------------------------------------- how often


def share_changed(name: str, p: float, n: int, c: int = 3) -> float:
    names, luck = frozenset({name}), chance(n, p, seed=3)
    if name in ("flip", "turn", "shift"):
        drawn = torch.cat([part.view(n, -1) for part in draw_blit(names, luck, 64, 64)], dim=1)
        return float((drawn != 0).any(1).double().mean())
    matrix = draw_colour(names, luck, c) if name in PRESETS["bgc"] - {*GEOMETRIES} else None
    matrix = draw_inverse_map(names, luck, 64, 64) if matrix is None else matrix
    return float((matrix != torch.eye(matrix.shape[1], dtype=matrix.dtype)).flatten(1).any(1).double().mean())


FACTORS = {
    "flip": 1 / 2,
    "turn": 3 / 4,
    "shift": 1 - 1 / 16**2,
    "luma": 1 / 2,
}  # a fair coin and its like may leave a row as it is


@pytest.mark.parametrize("name", sorted(PRESETS["bgc"]))
@pytest.mark.parametrize("p", [0.2, 0.6])
def test_every_transform_happens_with_probability_p(name: str, p: float) -> None:
    """That a row is turned, before or after the stretch, has probability ``p`` as well."""
    n = 20_000
    wanted = p * FACTORS.get(name, 1.0)
    assert share_changed(name, p, n) == pytest.approx(wanted, abs=3.5 * math.sqrt(wanted * (1 - wanted) / n))


def test_transforms_of_a_row_and_of_two_rows_are_drawn_independently() -> None:
    n = 20_000
    matrix = draw_colour(frozenset({"brightness", "contrast"}), chance(n, 0.5), 1)
    bright, contrast = (matrix[:, 0, 1] != 0).double(), (matrix[:, 0, 0] != 1).double()
    assert abs(float(((bright - 0.5) * (contrast - 0.5)).mean())) < 4 / 4 / math.sqrt(n)
    assert abs(float(((bright[1:] - 0.5) * (bright[:-1] - 0.5)).mean())) < 4 / 4 / math.sqrt(n)


# ---------------------------------------------------------------------- the module


@pytest.mark.parametrize("transforms", ["bgc", "mild"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 9), (3, 6, 6), (4, 1, 3)])
def test_any_shape_and_p_zero_is_the_identity(shape: tuple[int, ...], transforms) -> None:
    x = images(12, *shape).float()
    assert torch.equal(at(0.0, shape, transforms)(x, generator=seeded()), x)
    changed = at(0.8, shape, transforms)(x, generator=seeded())
    assert changed.shape == x.shape
    assert bool(changed.isfinite().all())
    assert not torch.equal(changed, x)
    assert torch.equal(changed, at(0.8, shape, transforms)(x, generator=seeded()))
    assert len(at(0.8, shape, transforms)(x[:0], generator=seeded())) == 0


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 2, 3), (2, 3, 2)])
def test_gradients_are_right(shape: tuple[int, ...]) -> None:
    change = at(0.7, shape, "bgc")
    assert torch.autograd.gradcheck(lambda x: change(x, generator=seeded()), images(3, *shape).requires_grad_())


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    at(0.5, (3, 8, 8), "bgc")(images(4, 3, 8, 8), generator=seeded())
    assert torch.equal(before, torch.random.get_rng_state())


def test_small_images_are_neither_turned_nor_mirrored_by_default() -> None:
    assert preset_for((1, 32, 32)) == "mild"
    assert preset_for((3, 64, 40)) == "bgc"
    assert not {"flip", "turn", "rotate", "luma", "hue"} & AdaptiveAugmentation((1, 28, 28)).transforms
    assert AdaptiveAugmentation((3, 64, 64)).transforms == PRESETS["bgc"]


def test_what_cannot_be_used_is_named() -> None:
    change = AdaptiveAugmentation((1, 4, 4))
    for x in (torch.zeros(2, 16), torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="x: real images \\['n', 1, 4, 4\\] are needed"):
            change(x)
    with pytest.raises(ValueError, match="event_shape: .channels, height, width. is needed, got .5,."):
        AdaptiveAugmentation((5,))
    with pytest.raises(ValueError, match="transforms: 'turns' is none of .* Perhaps you meant 'turn'"):
        AdaptiveAugmentation((1, 4, 4), transforms={"turns"})
    with pytest.raises(ValueError, match="transforms: presets are bgc, mild; got 'mid'"):
        AdaptiveAugmentation((1, 4, 4), transforms="mid")
    with pytest.raises(ValueError, match="target: must be between -1 and 1, got 2"):
        AdaptiveAugmentation((1, 4, 4), target=2)
    with pytest.raises(ValueError, match="total_images: must be positive or None, got 0"):
        AdaptiveAugmentation((1, 4, 4), total_images=0)
    with pytest.raises(ValueError, match="total_images: must be positive or None, got nan"):
        AdaptiveAugmentation((1, 4, 4), total_images=math.nan)
    with pytest.raises(ValueError, match="held: one value for each of at least one row is needed, got \\[0\\]"):
        change.observe(torch.zeros(4), torch.zeros(0))
    with pytest.raises(ValueError, match="train: one value for each .* got \\[4, 1\\]"):
        change.observe(torch.zeros(4, 1), torch.zeros(4))


# ---------------------------------------------------------------------- the controller


def test_statistics_in_closed_form() -> None:
    train, held = of(3.0, 1.0), of(2.0, 1.0, 0.0)
    assert r_auc(train, held) == pytest.approx((3 + (1 - 1 + 0)) / 6)
    assert r_auc(train, train) == 0
    assert r_v(train, held, of(-1.0)) == pytest.approx((2 - 1) / (2 + 1))
    assert r_t(of(3.0, -1.0, 2.0, 0.0)) == pytest.approx(1 / 4)


def test_of_two_gaussians_the_rank_statistic_is_the_error_function() -> None:
    """``D(train) ~ N(s, 1)``, ``D(held) ~ N(0, 1)``: ``2 P(train > held) - 1 = erf(s / 2)``."""
    draws = torch.randn(2, 2000, generator=seeded(), dtype=torch.float64)
    assert r_auc(draws[0] + 1, draws[1]) == pytest.approx(math.erf(0.5), abs=0.03)


def test_p_moves_by_the_images_seen_over_those_of_the_whole_way() -> None:
    change = AdaptiveAugmentation((1, 4, 4), total_images=40_000)  # from 0 to 1 in 4000 images: a step is 4 * 16 / 4000
    above, below = (of(*[1.0] * 16), of(0.0)), (of(*[-1.0] * 16), of(0.0))
    for number in range(1, 13):
        change.observe(*above)
        assert float(change.p) == pytest.approx(number // 4 * 0.016, abs=1e-15)
    assert float(change.statistic_value) == 1
    for _ in range(4):
        change.observe(*below)
    assert float(change.p) == pytest.approx(2 * 0.016, abs=1e-15)
    for _ in range(16):
        change.observe(*below)
    assert float(change.p) == 0
    for _ in range(400):
        change.observe(*above)
    assert float(change.p) == pytest.approx(0.8, abs=1e-15)
    assert int(change.images) == (12 + 4 + 16 + 400) * 16


def test_the_images_of_all_processes_are_counted() -> None:
    """Two processes with half of each minibatch move ``p`` as one with the whole of it."""
    alone, half = (AdaptiveAugmentation((1, 4, 4), total_images=40_000) for _ in range(2))
    for _ in range(8):
        alone.observe(of(*[1.0] * 16), of(0.0))
        half.observe(of(*[1.0] * 8), of(0.0), processes=2)
    assert float(half.p) == float(alone.p) == pytest.approx(2 * 0.016, abs=1e-15)
    assert int(half.images) == int(alone.images)


@pytest.mark.parametrize(
    ("total", "seen", "wanted"), [(10**8, 0, 500_000), (10**5, 0, 10_000), (None, 0, 20_000), (None, 10**6, 10**5)]
)
def test_the_way_from_zero_to_one_is_a_tenth_of_the_run(total: int | None, seen: int, wanted: int) -> None:
    change = AdaptiveAugmentation((1, 4, 4), total_images=total)
    change.images.fill_(seen)
    assert float(change.images_to_one()) == wanted


def trajectory(values: Callable[[Tensor], Tensor], statistic: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    change = AdaptiveAugmentation((1, 4, 4), total_images=10_000, statistic=statistic)
    rng, found = seeded(), []
    for step in range(200):
        lead = 1.5 * math.sin(step / 20)
        change.observe(values(torch.randn(16, generator=rng) + lead), values(torch.randn(16, generator=rng)))
        found.append(float(change.p))
    return found


def test_scale_and_constant_of_the_critic_change_nothing() -> None:
    def affine(d: Tensor) -> Tensor:
        return 7 * d + 100

    plain = trajectory(lambda d: d, r_auc)
    assert max(plain) > 0.2
    assert plain[-1] < max(plain)
    assert trajectory(affine, r_auc) == plain

    def sign(train: Tensor, held: Tensor) -> Tensor:
        return r_t(train)

    assert trajectory(affine, sign) != trajectory(lambda d: d, sign)


def test_a_saved_controller_goes_on_bitwise() -> None:
    def observe(change: AdaptiveAugmentation, steps: range) -> None:
        for step in steps:
            draws = torch.randn(2, 16, generator=seeded(step))
            change.observe(draws[0] + 0.5, draws[1])

    whole, first = [AdaptiveAugmentation((1, 4, 4), total_images=5000) for _ in range(2)]
    observe(whole, range(30))
    observe(first, range(14))
    second = AdaptiveAugmentation((1, 4, 4), total_images=5000)
    second.load_state_dict(first.state_dict())
    observe(second, range(14, 30))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert float(whole.p) > 0


# ---------------------------------------------------------------------- nothing leaks


def corner(n: int, rng: torch.Generator) -> Tensor:
    """2 x 2 images, the first pixel bright and the others dark, with noise."""
    return torch.tensor([0.7, -0.7, -0.7, -0.7]).view(1, 1, 2, 2) + 0.1 * torch.randn(n, 1, 2, 2, generator=rng)


def upright(x: Tensor) -> Tensor:
    return x.flatten(1).argmax(1) == 0


def red(n: int, rng: torch.Generator) -> Tensor:
    """One red pixel, with noise."""
    return torch.tensor([0.6, -0.6, -0.6]).view(1, 3, 1, 1) + 0.1 * torch.randn(n, 3, 1, 1, generator=rng)


def reddish(x: Tensor) -> Tensor:
    """Hue within 60 degrees of red."""
    red, green, blue = x.flatten(1).T
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue).abs() < math.pi / 3


CASES = {"turn": (corner, upright, (1, 2, 2)), "hue": (red, reddish, (3, 1, 1))}


def learned(name: str, p: float, *, also_made: bool, steps: int = 300, seed: int = 0) -> Tensor:
    """Samples of a generator whose critic sees data, and made images where wanted, with a change of probability ``p``."""
    draw, _, shape = CASES[name]
    change, rng = at(p, shape, {name}), seeded(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made_by = nn.Sequential(nets.mlp(4, (48, 48), math.prod(shape)), nn.Unflatten(1, shape))
        critic = nets.mlp_critic(shape, (48, 48))
    players = [torch.optim.Adam(net.parameters(), 2e-3, (0.0, 0.9), fused=True) for net in (made_by, critic)]

    def made(n: int = 128) -> Tensor:
        x = made_by(torch.randn(n, 4, generator=rng))
        return change(x, generator=rng) if also_made else x

    for _ in range(steps):
        for _ in range(3):
            real, fake = change(draw(128, rng), generator=rng), made().detach()
            gap, gradient = dual_terms(critic, real, fake, interpolates(real, fake, generator=rng))
            players[1].zero_grad()
            (10 * two_sided_penalty(slopes(gradient)) - gap).backward()
            players[1].step()
        players[0].zero_grad()
        (-critic(made()).mean()).backward()
        players[0].step()
    return made_by(torch.randn(2000, 4, generator=rng)).detach()


@pytest.mark.parametrize("name", sorted(CASES))
def test_changes_of_the_critics_images_do_not_leak(name: str) -> None:
    """At p = 0.6 the law of what is changed still determines the law of the images; changing the data alone does leak."""
    right = CASES[name][1]
    assert right(learned(name, 0.6, also_made=True)).double().mean() >= 0.98
    assert right(learned(name, 0.6, also_made=False)).double().mean() <= 0.75


# ---------------------------------------------------------------------- the page


def test_the_loop_in_the_docs_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "ada.md"
    found = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(found[1], str(page), "exec"), names)  # noqa: S102 - the page's own code
    assert int(names["augment"].images) == 40 * 16
