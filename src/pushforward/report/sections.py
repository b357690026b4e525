"""The sections of a report: one builder each, which gives None where the method or the data have nothing to show."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from markupsafe import Markup
from torch import Tensor

from pushforward.report import charts
from pushforward.report.material import QUERIES, Material, encoded, encoded_values, evenly, nearest_training_rows
from pushforward.report.measures import MEASURES, Measure, Reading, read_all, row_count
from pushforward.report.numbers import duration, number, people, percent, shorten, words
from pushforward.report.page import (
    Section,
    code,
    columns,
    definitions,
    figure,
    grid_figure,
    heading,
    join,
    paragraph,
    rows_figure,
    table,
)

if TYPE_CHECKING:
    import pandas as pd

    from pushforward.method import Method

GRID = 48
STRIP = 8
RECONSTRUCTED = 64
UNNAMED = "Training and rest"
MOST_COLUMNS = 24
SHOWN_COLUMNS = 30
_SPLIT_PREFIXES = ("train_", "training_", "held_out_", "held_", "validation_", "val_")
_NOT_METRICS = ("stage", "step", "seconds")


# --------------------------------------------------------------------------------------------------------- numbers


def numbers(material: Material) -> Section | None:
    """Every held-out number with what it means, what is good, and a verdict in words."""
    readings = read_all(material.method.validation_)
    if not readings:
        return None
    rows = row_count(material.method.validation_)
    told = [_number_row(known, readings[key], rows) for key, known in MEASURES.items() if key in readings]
    rest = {words(key): found.text() for key, found in readings.items() if key not in MEASURES}
    head = ["Measure", "Value", "Good is", "Here"]
    body = join(
        paragraph(held_out_words(material.method), "note"),
        table(head, told, kind="numbers") if told else None,
        definitions(rest) if rest else None,
    )
    return Section("Held-out numbers", "numbers", body)


def _number_row(known: Measure, found: Reading, rows: int | None) -> Sequence[str | Markup]:
    tone, told = known.verdict(found, rows)
    name = Markup('{}<br><span class="note">{}</span>').format(known.title, known.meaning)
    return [name, found.text(), known.good, Markup('<span class="verdict {}">{}</span>').format(tone, told)]


def held_out_words(method: Method) -> str:
    """What "held out" means here, and how many rows the numbers rest on."""
    held, trained = len(method.held_rows_), len(method.train_rows_)
    if held == 0:
        return "No rows were held out, so nothing is known about how the model does on unseen data."
    used = row_count(method.validation_)
    some = f"{used:,} of {held:,}" if used is not None and used < held else f"{held:,}"
    return (
        f"Measured on {some} held-out rows: {_units(method)} of the same data, chosen at random before the fit and never trained on "
        f"({trained:,} were). The fewer rows, the less certain; compare only numbers from equally many."
    )


def _units(method: Method) -> str:
    """What was held out as a whole: rows, or groups of rows."""
    info = getattr(method, "data_info_", {})
    by_name = f" by {info['group']!r}" if "group" in info else ""
    return f"whole groups{by_name}" if by_name or info.get("groups_given") else "rows"


# --------------------------------------------------------------------------------------------------------- samples


def samples(material: Material) -> Section:
    """Fresh samples beside real rows, in the way that suits the kind of data."""
    show = {"image": _picture_samples, "table": _table_samples, "vector": _vector_samples}
    return Section("Samples", "samples", show[material.kind](material))


def _picture_samples(material: Material) -> Markup:
    fake = material.schema.as_images(material.samples_x[:GRID])
    real = material.schema.as_images(material.real_x[torch.from_numpy(evenly(np.arange(len(material.real_x)), GRID))])
    return columns(
        grid_figure(fake, f"Generated: {len(fake)} samples, not selected.", f"Grid of {len(fake)} generated pictures"),
        grid_figure(
            real,
            f"Real: {len(real)} {material.origin} pictures.",
            f"Grid of {len(real)} real {material.origin} pictures",
        ),
    )


def _table_samples(material: Material) -> Markup:
    fake, real = frame(material.samples), frame(material.rows(material.real_rows).values)
    return join(
        _ten_rows(fake, f"Generated: the first ten of {len(fake):,} samples."),
        Markup("<br>"),
        _ten_rows(real, f"Real: ten {material.origin} rows."),
        _marginals(real, fake, material.origin),
        _correlations(real, fake),
    )


def _vector_samples(material: Material) -> Markup:
    fake, real = frame(material.samples), frame(material.rows(material.real_rows).values)
    return join(_clouds(material), _marginals(real, fake, material.origin), _correlations(real, fake))


def frame(values: Any) -> pd.DataFrame:
    """Values of a table or of vectors as a DataFrame; columns without names get numbers."""
    import pandas as pd

    if isinstance(values, pd.DataFrame):
        return values.reset_index(drop=True)
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    flat = array.reshape(len(array), -1)
    return pd.DataFrame(flat, columns=[f"x{i + 1}" for i in range(flat.shape[1])])


def _ten_rows(rows: pd.DataFrame, caption: str) -> Markup:
    some = rows.iloc[:10, :SHOWN_COLUMNS]
    left_out = rows.shape[1] - some.shape[1]
    more = f" {left_out} more columns are not shown." if left_out else ""
    body = [[str(i + 1), *map(cell, record)] for i, record in enumerate(some.itertuples(index=False, name=None))]
    return table(["", *map(str, some.columns)], body, caption + more, "rows")


def cell(value: object) -> str:
    """One value of a table for reading."""
    if value is None or value != value or str(value) in ("<NA>", "NaT"):
        return "–"
    return f"{value:.5g}".replace("-", "\u2212") if isinstance(value, (float, np.floating)) else str(value)


def _marginals(real: pd.DataFrame, fake: pd.DataFrame, origin: str) -> Markup:
    shown = [name for name in real.columns if name in fake.columns][:MOST_COLUMNS]
    drawn = [charts.histogram_pair(real[name].tolist(), fake[name].tolist(), str(name)) for name in shown]
    left_out = len(real.columns) - len(shown)
    more = f" The first {len(shown)} columns; {left_out} more are not shown." if left_out else ""
    told = (
        f"Share of rows, in per cent: {len(real):,} {origin} rows outlined, {len(fake):,} generated rows filled; "
        f"beside categories real · generated.{more}"
    )
    return join(
        heading("Each column"), paragraph(told, "note"), columns(*(figure(c) for c in drawn), kind="many small")
    )


def _correlations(real: pd.DataFrame, fake: pd.DataFrame) -> Markup | None:
    shown = [name for name in real.select_dtypes("number").columns if name in fake.columns][: charts.MOST_CELLS]
    if len(shown) < 2:
        return None
    pair = [rows[shown].astype(float).corr().to_numpy() for rows in (real, fake)]
    names = [str(name) for name in shown]
    maps = [charts.heat_map(matrix, names, title) for matrix, title in zip(pair, ("Real", "Generated"), strict=True)]
    return join(
        heading("Correlations"), paragraph(_largest_gap(pair[0], pair[1], names), "note"), columns(*map(figure, maps))
    )


def _largest_gap(real: npt.NDArray[Any], fake: npt.NDArray[Any], names: Sequence[str]) -> str:
    gap = np.triu(np.nan_to_num(np.abs(real - fake)), 1)
    i, j = divmod(int(gap.argmax()), len(names))
    left_out = f" The first {len(names)} numeric columns." if len(names) == charts.MOST_CELLS else ""
    return (
        f"Pearson correlation of numeric columns. The largest difference is between {names[i]} and {names[j]}: "
        f"{number(real[i, j])} in real data, {number(fake[i, j])} in samples.{left_out}{_constant_words(real, fake)}"
    )


def _constant_words(real: npt.NDArray[Any], fake: npt.NDArray[Any]) -> str:
    empty = np.isnan(np.diag(real)) | np.isnan(np.diag(fake))
    return " A column that is constant on one side has no correlation there." if empty.any() else ""


def _clouds(material: Material) -> Markup | None:
    real, fake = material.real_x.flatten(1), material.samples_x.flatten(1)
    if real.shape[1] < 2:
        return None
    (left, right), labels = _plane(real, fake)
    limits = charts.plane_limits([left, right])
    return columns(
        figure(charts.scatter({"real": left}, f"Real ({material.origin})", *labels, limits=limits)),
        figure(charts.scatter({"generated": right}, "Generated", *labels, limits=limits)),
    )


def _plane(real: Tensor, fake: Tensor) -> tuple[tuple[Any, Any], tuple[str, str]]:
    """Both clouds ``[n, 2]`` on the first two principal axes of the real one; as they are where they are flat already."""
    if real.shape[1] == 2:
        return (real.numpy(), fake.numpy()), ("first coordinate, standardised", "second")
    centre = real.mean(0)
    axes = torch.linalg.svd(real - centre, full_matrices=False).Vh[:2].T
    return (((real - centre) @ axes).numpy(), ((fake - centre) @ axes).numpy()), ("first principal axis", "second")


# --------------------------------------------------------------------------------------- reconstruction, interpolation


def reconstructions(material: Material) -> Section | None:
    """Originals beside what the model makes of their codes."""
    if not (material.can("encode") and material.can("reconstruct")):
        return None
    originals = material.rows(evenly(material.real_rows, RECONSTRUCTED))
    made = material.method.reconstruct(originals)
    x, y = _encode_pair(material, originals, made)
    error = float((x - y).square().mean())
    share = error / max(float(x.var(dim=0, unbiased=False).mean()), 1e-12)
    told = (
        f"Mean squared error {number(error) if error > 1e-6 else 'below 1e-6'} on the encoded scale, {percent(share)} of "
        f"the variance of these {len(x)} {material.origin} rows (0 % is perfect, 100 % is what their mean alone would give)."
    )
    shown = _picture_pairs(material, x, y) if material.kind == "image" else row_pairs(originals.values, made, 5)
    return Section("Reconstructions", "reconstructions", join(paragraph(told), shown))


def _encode_pair(material: Material, originals: Any, made: Any) -> tuple[Tensor, Tensor]:
    return encoded(material.method, originals), encoded_values(material.method, material.data, made)


def _picture_pairs(material: Material, x: Tensor, y: Tensor) -> Markup:
    real, fake = (material.schema.as_images(part[: 2 * STRIP]) for part in (x, y))
    rows = [part[i : i + STRIP] for i in range(0, len(real), STRIP) for part in (real, fake)]
    labels = ["original", "model"] * (len(rows) // 2)
    return rows_figure(rows, labels, f"Each {material.origin} picture with its reconstruction below it.")


def row_pairs(first: Any, second: Any, most: int, names: tuple[str, str] = ("original", "model")) -> Markup:
    """A table in which a row of ``second`` stands below each row of ``first``."""
    left = frame(first).iloc[:most, :SHOWN_COLUMNS]
    right = frame(second).iloc[:most].reindex(columns=left.columns)  # some columns are not modelled
    lines = [
        [name, *map(cell, record)]
        for pair in zip(left.itertuples(index=False, name=None), right.itertuples(index=False, name=None), strict=True)
        for name, record in zip(names, pair, strict=True)
    ]
    return table(["", *map(str, left.columns)], lines, kind="rows")


def interpolations(material: Material) -> Section | None:
    """Paths from one real row to another."""
    if not material.can("interpolate"):
        return None
    ends = evenly(material.real_rows, 2 * 5)
    half = len(ends) // 2
    if half == 0:
        return None
    made = material.method.interpolate(material.rows(ends[:half]), material.rows(ends[half : 2 * half]), steps=STRIP)
    show = _picture_paths if material.kind == "image" else _row_path
    told = f"From the reconstruction of one {material.origin} row to that of another, in equal steps of the code."
    return Section("Interpolations", "interpolations", join(paragraph(told, "note"), show(material, made)))


def _picture_paths(material: Material, made: Any) -> Markup:
    pictures = material.pictures(made)
    rows = [pictures[i : i + STRIP] for i in range(0, len(pictures), STRIP)]
    labels = [f"path {i + 1}" for i in range(len(rows))]
    return rows_figure(rows, labels, f"{len(rows)} paths, one a row.")


def _row_path(material: Material, made: Any) -> Markup:
    path = frame(made).iloc[:STRIP, :SHOWN_COLUMNS]
    lines = [[str(i + 1), *map(cell, record)] for i, record in enumerate(path.itertuples(index=False, name=None))]
    return table(["step", *map(str, path.columns)], lines, "One path, step by step.", "rows")


# ------------------------------------------------------------------------------------------------------- neighbours


def neighbours(material: Material) -> Section | None:
    """The training rows nearest to samples, beside how near held-out rows lie: are samples copies?"""
    distance, index = nearest_training_rows(material, material.samples_x[:QUERIES], 3)
    show = _picture_neighbours if material.kind == "image" else _row_neighbours
    body = join(
        paragraph(
            "A model that copied would lay its samples much nearer to training rows than unseen data lie. "
            "Distances are Euclidean, on the encoded scale."
        ),
        columns(show(material, index), _distance_chart(material, distance[:, 0])),
    )
    return Section("Nearest training rows", "neighbours", body)


def _picture_neighbours(material: Material, index: npt.NDArray[np.int64]) -> Markup:
    x, some = material.samples_x[:STRIP], index[:STRIP]
    found = [material.pictures(_plain(material, some[:, j])) for j in range(some.shape[1])]
    names = ["sample", "nearest", "second", "third"][: 1 + len(found)]
    caption = f"{len(x)} samples, each above its {len(found)} nearest training pictures."
    return rows_figure([material.schema.as_images(x), *found], names, caption)


def _plain(material: Material, rows: npt.NDArray[np.int64]) -> Any:
    return material.rows(rows).values


def _row_neighbours(material: Material, index: npt.NDArray[np.int64]) -> Markup:
    return row_pairs(material.samples, _plain(material, index[:5, 0]), len(index[:5]), ("sample", "nearest"))


def _distance_chart(material: Material, distance: Tensor) -> Markup | None:
    """How near samples and held-out rows lie to training rows; None where nothing was held out."""
    if material.origin != "held-out":
        return figure(
            charts.bar_chart({"median": float(distance.median())}, "", "Distance to the nearest training row")
        )
    held, _ = nearest_training_rows(material, material.real_x[:QUERIES], 1)
    chart = charts.histogram_pair(
        held[:, 0].tolist(), distance.tolist(), "Distance to the nearest training row", names=("held-out", "generated")
    )
    told = (
        f"Median distance {number(float(distance.median()))} for {len(distance)} samples, "
        f"{number(float(held.median()))} for {len(held)} held-out rows."
    )
    return figure(chart, told)


# ----------------------------------------------------------------------------------------------------------- curves


def curves(material: Material) -> Section | None:
    """One chart for each number that was recorded during the fit; training and held-out values of one share a chart."""
    grouped = group_metrics(material.method.history_)
    if not grouped:
        return None
    x_key, x_label = _horizontal(material.method.history_)
    drawn = [_metric_chart(name, keys, material.method.history_, x_key, x_label) for name, keys in grouped.items()]
    return Section("Training", "training", columns(*map(figure, drawn), kind="many"))


def group_metrics(history: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Numeric keys of the records by what they measure: ``loss``, ``held_out_loss``, ``loss_before`` belong together."""
    grouped: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for record in history for key in record):
        if key not in _NOT_METRICS and any(_numeric(record.get(key)) for record in history):
            grouped.setdefault(_base(key), []).append(key)
    return grouped


def _numeric(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _base(key: str) -> str:
    plain = key.removesuffix("_before")
    return next((plain[len(start) :] for start in _SPLIT_PREFIXES if plain.startswith(start) and plain != start), plain)


def _horizontal(history: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Steps where they were counted, seconds otherwise."""
    counted = len({record.get("step") for record in history}) > 1
    return ("step", "step") if counted else ("seconds", "seconds")


def _metric_chart(name: str, keys: Sequence[str], history: Sequence[Mapping[str, Any]], x: str, label: str) -> Markup:
    """The chart of one group: a curve a key, or a curve a stage where there is one key in several stages."""
    stages = list(dict.fromkeys(str(r.get("stage", "")) for r in history if _numeric(r.get(keys[0]))))
    by_stage = len(keys) == 1 and 1 < len(stages) <= charts.MOST_SERIES
    series = (
        {stage or "start": _points(history, keys[0], x, stage) for stage in stages}
        if by_stage
        else {words(key): _points(history, key, x) for key in keys}
    )
    return charts.line_chart(series, words(name), label, log_y=wants_log(series))


def _points(
    history: Sequence[Mapping[str, Any]], key: str, x: str, stage: str | None = None
) -> list[tuple[float, float]]:
    return [
        (float(record.get(x, i)), float(record[key]))
        for i, record in enumerate(history)
        if _numeric(record.get(key)) and (stage is None or str(record.get("stage", "")) == stage)
    ]


def wants_log(series: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    """Whether the values are all positive and span more than a factor of thirty."""
    values = [y for points in series.values() for _, y in points if np.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 30


# ------------------------------------------------------------------------------------------------------ about the fit


def time_spent(material: Material) -> Section | None:
    """Seconds of each stage, the longest first, and what no stage accounts for."""
    stages = {words(name): value for name, value in material.method.seconds_.items()}
    if not stages:
        return None
    spent = sum(stages.values())
    total = max(spent, float(material.method.run_.get("seconds") or 0.0))
    if total - spent > 0.02 * total:
        stages[UNNAMED] = total - spent
    chart = charts.bar_chart(dict(sorted(stages.items(), key=lambda item: -item[1])), "s")
    return Section("Where the time went", "time", join(paragraph(f"{duration(total)} in all.", "note"), figure(chart)))


def configuration(material: Material) -> Section:
    """Everything that is needed to do the same fit again."""
    method = material.method
    run = {words(key): cell(value) for key, value in method.run_.items() if value is not None and key != "fingerprint"}
    params = [[name, shorten(repr(value).partition("\n")[0], 80)] for name, value in method.params_.items()]
    body = join(
        columns(
            join(heading("Parameters"), table(["Name", "Value"], params) if params else paragraph("None.")),
            join(heading("Run"), table(["Name", "Value"], [[k, v] for k, v in {**run, **versions()}.items()])),
        ),
        heading("Data"),
        Markup('<pre class="plain-text">{}</pre>').format(material.schema.summary()),
    )
    return Section("Configuration", "configuration", body)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"Python": platform.python_version()}
    for name in ("pushforward", "torch", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def usage(folder: str) -> Callable[[Material], Section]:
    """A builder that says how to load the model from ``folder``."""

    def build(material: Material) -> Section:
        python, shell = usage_lines(folder, material.kind)
        return Section("Use the model", "use", join(code(python, "Python"), code(shell, "Command line")))

    return build


def usage_lines(folder: str, kind: str) -> tuple[str, str]:
    """Three lines of Python and one of the command line."""
    import shlex

    out = {"image": "grid.png", "table": "samples.csv", "vector": "samples.npy"}[kind]
    python = f"import pushforward as pf\nmodel = pf.load({folder!r})\nnew = model.sample(100, seed=0)"
    return python, f"pushforward sample {shlex.quote(folder)} -n 100 --out {out}"


def citation(material: Material) -> Section:
    """The paper, and its entry for a bibliography."""
    paper = material.method.paper
    told = f"{people(paper.authors)}: {paper.title} ({paper.year}), arXiv {paper.arxiv}."
    return Section("Citation", "citation", join(paragraph(told), code(paper.bibtex(), "BibTeX entry")))
