"""Every metric of an evaluation, one entry of a table each, and the function that works through the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.errors import NotSupported
from pushforward.metrics.copying import rank_test, ratio_of_quantiles
from pushforward.metrics.detection import classifier_test
from pushforward.metrics.frechet import frechet_distance, frechet_infinite
from pushforward.metrics.kernel import energy_distance, kid
from pushforward.metrics.manifold import density_coverage, precision_recall
from pushforward.metrics.measurement import Measurement, fixed_generator
from pushforward.metrics.permutation import mmd_test
from pushforward.metrics.pictures import ms_ssim, psnr, ssim
from pushforward.metrics.pixels import mean_pixel_distance
from pushforward.metrics.rows import feature_rows, nearest, take
from pushforward.metrics.sliced import max_sliced_wasserstein, sliced_wasserstein
from pushforward.metrics.table_pairs import pair_trends
from pushforward.metrics.table_records import nearest_records
from pushforward.metrics.table_shapes import column_shapes, missing_values
from pushforward.metrics.table_utility import detection_auc, train_synthetic_test_real
from pushforward.metrics.wasserstein import wasserstein_ratio

if TYPE_CHECKING:
    from pushforward.data import Data, Schema
    from pushforward.features import Features

NO_TRAIN = "the training rows are not known; give train="
_SEARCH_WORK = 3e11  # multiplications spent on nearest training rows
_FEWEST_QUERIES, _FEWEST_DISTANCES = 200, 10
_REBUILT = 128
_ALL_KINDS = frozenset({"image", "table", "vector"})


@dataclass(frozen=True)
class Sides:
    """What one metric compares, all in one form: tensors of encoded rows or of features, or DataFrames.

    Attributes:
        samples: drawn from the model.
        held: rows to compare them with.
        train: the training rows, or None.
        form: its name, which a measurement calls the features.
        target: a table's column to predict, or None.
        generator: for a metric that needs random numbers, on the CPU.
    """

    samples: Any
    held: Any
    train: Any
    form: str
    target: Any = None
    generator: torch.Generator = field(default_factory=fixed_generator)

    def each(self, make: Callable[[Any], Any], form: str) -> Sides:
        """Every side in another form."""
        train = None if self.train is None else make(self.train)
        return replace(self, samples=make(self.samples), held=make(self.held), train=train, form=form)

    def at_most(self, n: int) -> Sides:
        """At most ``n`` samples and as many rows to compare them with, of tensors; all training rows."""
        if not isinstance(self.held, torch.Tensor):
            return self
        return replace(self, samples=take(self.samples, n, self.generator), held=take(self.held, n, self.generator))


@dataclass(eq=False)
class Scene:
    """Samples, held-out and training rows in the forms that metrics ask for; each form is made once, when asked for.

    Attributes:
        samples: drawn from the model.
        train: the training rows, or None.
        held: rows to compare with.
        schema: encodes all of them.
        maps: the map to the form `features`.
        device: where tensors lie.
        target: a table's column for metrics that predict one, or None.
        rebuilt: what the model makes of the held rows `rows_to_rebuild`, in the data's kind, or None.
    """

    samples: Data
    train: Data | None
    held: Data
    schema: Schema
    maps: Features
    device: torch.device
    target: Any = None
    rebuilt: Any = None

    @cached_property
    def data(self) -> Sides:
        """The data as they were given."""
        return Sides(self.samples, self.held, self.train, "data", self.target)

    @cached_property
    def values(self) -> Sides:
        """Encoded rows ``[n, *event_shape]``."""
        return self.data.each(lambda data: self.schema.encode(data).to(self.device), "raw")

    @cached_property
    def features(self) -> Sides:
        """Features ``[n, d]`` of samples and held rows."""
        return replace(self.values, train=None).each(
            lambda x: feature_rows(x, self.maps.map, name="rows"), self.maps.name
        )

    @cached_property
    def tables(self) -> Sides:
        """DataFrames with the columns of the samples that the others have too."""
        sides, _ = self.data, self.values  # what cannot be encoded is refused here
        others = [data.values.columns for data in (sides.held, sides.train) if data is not None]
        columns = [name for name in sides.samples.values.columns if all(name in known for known in others)]
        return sides.each(lambda data: data.values[columns], "columns")

    @cached_property
    def to_train(self) -> Sides:
        """Distances from samples and held rows to the nearest training row, ``[k]``; of some of them where the search is long."""
        values = self.values
        train = feature_rows(values.train, None, name="train", least=1)
        named = ((values.samples, "samples"), (values.held, "held"))
        rows = [feature_rows(x, None, name=name, least=_FEWEST_DISTANCES) for x, name in named]
        queries = int(max(_FEWEST_QUERIES, _SEARCH_WORK / (2 * train.numel())))
        ours, theirs = (nearest(take(x, queries, fixed_generator()), train) for x in rows)
        return replace(values, samples=ours, held=theirs)

    @cached_property
    def rebuilds(self) -> Sides:
        """What the model makes of held rows, as ``samples``, and those rows: ``[k, *event_shape]``."""
        if self.rebuilt is None:
            raise ValueError("the model cannot reconstruct rows, or these come without the labels that it needs")
        made, held = self.schema.encode(self.rebuilt).to(self.device), self.values.held
        chosen = torch.as_tensor(rows_to_rebuild(len(held)), device=self.device)
        return replace(self.values, samples=made, held=held[chosen])


@dataclass(frozen=True)
class Metric:
    """One entry of the table.

    Attributes:
        names: of the numbers that it gives.
        form: which form of the rows it takes.
        measure: carries that form to a `Measurement`, or to a tuple with one for each name.
        kinds: of data that it suits.
        needs_train: whether it cannot do without the training rows.
        most: rows of each side that it is given at most.
    """

    names: tuple[str, ...]
    form: Callable[[Scene], Sides]
    measure: Callable[[Sides], Any]
    kinds: frozenset[str] = _ALL_KINDS
    needs_train: bool = False
    most: int = 10_000


# ---------------------------------------------------------------------- metrics that need a few lines


def _p_value(chance: float, n: int, note: str = "") -> Measurement:
    """The p-value of a test: a number without an interval."""
    return Measurement(chance, math.nan, math.nan, n, note=note)


def _copying(sides: Sides) -> Measurement:
    test = rank_test(sides.samples, sides.held)
    note = (
        f"a sample lies nearer to its nearest training row than a held-out row does with probability {test.share:.2f}"
    )
    return _p_value(test.p_value, test.n, note)


def _nearest_ratio(quantile: float) -> Callable[[Sides], Measurement]:
    return lambda v: ratio_of_quantiles(v.samples, v.held, quantile, v.form, v.generator)


def _mmd(sides: Sides) -> tuple[Measurement, Measurement]:
    test = mmd_test(sides.samples, sides.held, generator=sides.generator)
    return test.distance, _p_value(test.p_value, test.distance.n)


def _classifier_test(sides: Sides) -> tuple[Measurement, Measurement]:
    test = classifier_test(sides.samples, sides.held, generator=sides.generator)
    return test.auc, _p_value(test.p_value, test.auc.n)


def _missing(sides: Sides) -> Measurement:
    if not any(bool(frame.isna().any(axis=None)) for frame in (sides.samples, sides.held)):
        raise ValueError("no value is missing, neither in the samples nor in these rows")
    return missing_values(sides.samples, sides.held, generator=sides.generator).patterns


def _detection(sides: Sides) -> tuple[Measurement, Measurement]:
    found = detection_auc(sides.samples, sides.held, generator=sides.generator)
    return found.logistic, found.forest


def _utility(sides: Sides) -> tuple[Measurement, ...]:
    """Both models are trained on equally many rows: more of them would be an advantage of one side."""
    if sides.target is None:
        raise ValueError("no column to predict was named; give target=")
    n = min(len(sides.samples), len(sides.train))
    samples, train = (_some(frame, n, sides.generator) for frame in (sides.samples, sides.train))
    found = train_synthetic_test_real(samples, train, sides.held, sides.target, generator=sides.generator)
    scores = [part for kind in (found.linear, found.forest) for part in (kind.synthetic, kind.real)]
    return (*scores, found.forest.difference)


def _records(sides: Sides) -> tuple[Measurement, ...]:
    found = nearest_records(sides.samples, sides.train, sides.held, generator=sides.generator)
    return found.closer_to_train, found.to_train, found.held_to_train, found.copies, found.held_copies


def _some(frame: Any, n: int, generator: torch.Generator) -> Any:
    return frame.iloc[torch.randperm(len(frame), generator=generator)[:n].sort().values.numpy()]


# ---------------------------------------------------------------------- the table

VALUES, FEATURES, TO_TRAIN = attrgetter("values"), attrgetter("features"), attrgetter("to_train")
TABLES, REBUILDS = attrgetter("tables"), attrgetter("rebuilds")
_TABLE, _IMAGE, _NOT_TABLE = frozenset({"table"}), frozenset({"image"}), frozenset({"image", "vector"})
_TSTR = ("tstr_linear", "trtr_linear", "tstr_forest", "trtr_forest", "tstr_gap")
_RECORDS = ("record_nearer", "record_distance", "held_record_distance", "record_copies", "held_record_copies")

METRICS: tuple[Metric, ...] = (
    Metric(("frechet",), FEATURES, lambda v: frechet_distance(v.samples, v.held)),
    Metric(("frechet_infinite",), FEATURES, lambda v: frechet_infinite(v.samples, v.held)),
    Metric(("kid",), FEATURES, lambda v: kid(v.samples, v.held)),
    Metric(("precision", "recall"), FEATURES, lambda v: precision_recall(v.samples, v.held), most=5000),
    Metric(("density", "coverage"), FEATURES, lambda v: density_coverage(v.samples, v.held), most=5000),
    Metric(("mmd", "mmd_p"), FEATURES, _mmd, most=2000),
    Metric(("c2st_auc", "c2st_p"), FEATURES, _classifier_test, _NOT_TABLE, most=2000),
    Metric(("energy",), VALUES, lambda v: energy_distance(v.samples, v.held)),
    Metric(("sliced_w2",), VALUES, lambda v: sliced_wasserstein(v.samples, v.held, generator=v.generator)),
    Metric(("max_sliced_w2",), VALUES, lambda v: max_sliced_wasserstein(v.samples, v.held, generator=v.generator)),
    Metric(
        ("w2_ratio",),
        VALUES,
        lambda v: wasserstein_ratio(v.samples, v.train, v.held, generator=v.generator),
        needs_train=True,
        most=2000,
    ),
    Metric(("nearest_ratio",), TO_TRAIN, _nearest_ratio(0.5), needs_train=True),
    Metric(("nearest_ratio_5",), TO_TRAIN, _nearest_ratio(0.05), needs_train=True),
    Metric(("memorisation_p",), TO_TRAIN, _copying, needs_train=True),
    Metric(("pixel_distance",), VALUES, lambda v: mean_pixel_distance(v.samples, v.held), _IMAGE),
    Metric(("psnr",), REBUILDS, lambda v: psnr(v.samples, v.held), _IMAGE),
    Metric(("ssim",), REBUILDS, lambda v: ssim(v.samples, v.held), _IMAGE),
    Metric(("ms_ssim",), REBUILDS, lambda v: ms_ssim(v.samples, v.held), _IMAGE),
    Metric(("column_shapes",), TABLES, lambda v: column_shapes(v.samples, v.held, generator=v.generator).mean, _TABLE),
    Metric(("pair_trends",), TABLES, lambda v: pair_trends(v.samples, v.held, generator=v.generator).mean, _TABLE),
    Metric(("missing_patterns",), TABLES, _missing, _TABLE),
    Metric(("detection_linear", "detection_forest"), TABLES, _detection, _TABLE),
    Metric(_TSTR, TABLES, _utility, _TABLE, needs_train=True),
    Metric(_RECORDS, TABLES, _records, _TABLE, needs_train=True),
)


def score(
    samples: Data,
    train: Data | None,
    held: Data,
    schema: Schema,
    *,
    features: Features,
    target: Any = None,
    rebuilt: Any = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, Measurement], dict[str, str]]:
    """Every metric that suits the data, for samples of any origin.

    Args:
        samples: what was drawn, in the values of the data's kind (a table with all its modelled columns).
        train: the training rows, or None: then the metrics that need them are refused.
        held: rows to compare with, never trained on for an honest answer.
        schema: encodes all of them; other columns of a table are ignored.
        features: of `features_for`, shared by everything that is to be compared.
        target: a table's column for train-on-synthetic-test-on-real.
        rebuilt: what a model makes of the held rows `rows_to_rebuild`, for metrics of reconstruction.
        seed: of the metrics' random numbers.
        device: where they are computed.

    Returns:
        Measurements by name, and the reasons of those that were refused by name.
    """
    scene = Scene(samples, train, held, schema, features, torch.device(device), target, rebuilt)
    found: dict[str, Measurement] = {}
    refused: dict[str, str] = {}
    for metric in METRICS:
        if schema.kind in metric.kinds:
            _work(metric, scene, seed, found, refused)
    return found, refused


def _work(metric: Metric, scene: Scene, seed: int, found: dict[str, Measurement], refused: dict[str, str]) -> None:
    """One metric: its numbers into ``found``, or the reason why there is none into ``refused``."""
    if metric.needs_train and scene.train is None:
        refused |= dict.fromkeys(metric.names, NO_TRAIN)
        return
    try:
        sides = replace(metric.form(scene), generator=fixed_generator(seed)).at_most(metric.most)
        measured = metric.measure(sides)
    except (ValueError, NotSupported, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        refused |= dict.fromkeys(metric.names, str(error))
        return
    results = (measured,) if isinstance(measured, Measurement) else measured
    for name, result in zip(metric.names, results, strict=True):
        if math.isfinite(result.value):
            found[name] = result if metric.form is TABLES else replace(result, features=sides.form)
        else:
            refused[name] = "the value is not finite"


def rows_to_rebuild(n: int) -> NDArray[np.int64]:
    """Which of ``n`` held-out rows a model is asked to reconstruct: 128 at random, since files are often sorted by class."""
    return np.random.default_rng(0).permutation(n)[:_REBUILT]


def metric_names(kinds: Iterable[str] = _ALL_KINDS) -> tuple[str, ...]:
    """The names of all numbers that data of these kinds can get, in the order of the table."""
    return tuple(name for metric in METRICS if metric.kinds & set(kinds) for name in metric.names)
