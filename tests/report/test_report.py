from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from html_checks import Page, assert_self_contained
from PIL import Image
from stand_in import LinearModel

from pushforward.data import Data
from pushforward.errors import StorageError
from pushforward.report import model_card, write_report
from pushforward.report.material import gather, nearest_training_rows
from pushforward.report.measures import MEASURES, Reading, reading

EVIL = '<img src=x onerror="alert(1)">'


def images(h: int = 8, w: int = 8, c: int = 1) -> Data:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (200, h, w, c), dtype=np.uint8)
    return Data(values if c == 3 else values[..., 0], None, "noise", None)


def table() -> Data:
    rng = np.random.default_rng(0)
    columns = {
        EVIL: rng.normal(size=300),
        "count": rng.integers(0, 9, 300),
        "kind": rng.choice(["a & b", EVIL, "c"], 300),
        "gap": np.where(rng.random(300) < 0.2, np.nan, rng.normal(size=300)),
    }
    return Data(pd.DataFrame(columns), None, f"people {EVIL}", None)


def vectors(d: int = 3) -> Data:
    return Data(np.random.default_rng(0).normal(size=(300, d)), None, "vectors", None)


CASES = {
    "grey": images,
    "colour": lambda: images(6, 10, 3),
    "table": table,
    "plane": lambda: vectors(2),
    "line": lambda: vectors(1),
    "many columns": lambda: vectors(40),
}


@pytest.fixture(scope="module", params=CASES)
def written(request, tmp_path_factory) -> tuple[str, Data, str]:
    data = CASES[request.param]()
    folder = tmp_path_factory.mktemp("run")
    path = write_report(folder / "report.html", method=LinearModel().fit(data), data=data)
    assert [entry.name for entry in folder.iterdir()] == ["report.html"]
    return request.param, data, path.read_text(encoding="utf-8")


def test_the_page_stands_alone(written) -> None:
    assert_self_contained(written[2])


def test_every_picture_opens_and_has_a_description(written) -> None:
    tags = Page(written[2]).all("img")
    assert bool(tags) == (written[0] in ("grey", "colour"))
    for tag in tags:
        picture = Image.open(io.BytesIO(base64.b64decode(tag["src"].partition("base64,")[2])))
        picture.load()
        assert (picture.width, picture.height) == (int(tag["width"]), int(tag["height"]))
        assert tag["alt"]


def test_anchors_are_unique_and_the_contents_lead_to_them(written) -> None:
    page = Page(written[2])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {tag["href"].removeprefix("#") for tag in page.all("a")} <= set(ids)


def test_text_of_users_and_papers_is_escaped(written) -> None:
    page = Page(written[2])
    assert not [a for _, a in page.tags if a.get("src") == "x" or "onerror" in a]
    assert not page.all("i"), "the markup in a warning is shown, not obeyed"
    assert "half of the <i>codes</i> are unused" in page.text
    assert "A <b>title</b> & more" in page.text
    if written[0] == "table":
        assert EVIL in page.text


def test_the_page_tells_what_matters(written) -> None:
    text = Page(written[2]).text
    for word in (
        "W2 ratio",
        "Recall",
        "Precision",
        "never trained on",
        "Warning",
        "Seed",
        "pf.load(",
        "@misc{",
        "torch",
    ):
        assert word in text


def test_no_number_is_left_unreadable(written) -> None:
    text = Page(written[2]).text
    assert not re.search(r"\bnan\b|\binf\b|tensor\(|dtype", text)


def test_left_out_columns_are_told(written) -> None:
    if written[0] == "many columns":
        assert "16 more are not shown" in Page(written[2]).text


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    data = table()
    model = LinearModel().fit(data)
    pages = [
        write_report(tmp_path / f"{k}.html", method=model, data=data, model_folder="m").read_bytes() for k in (1, 2)
    ]
    assert pages[0] == pages[1]


def test_what_a_method_cannot_do_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images()
    model = LinearModel().fit(data)
    monkeypatch.setattr(LinearModel, "can", lambda self: frozenset({"sample"}))
    model.history_, model.seconds_, model.validation_, model.warnings_ = [], {}, {}, []
    text = write_report(tmp_path / "report.html", method=model, data=data).read_text()
    page = Page(text)
    anchors = {tag["id"] for tag in page.all("section") if "id" in tag}
    assert anchors == {"samples", "neighbours", "configuration", "use", "citation"}
    assert "Warning" not in page.text


def test_nothing_held_out_is_said_plainly(tmp_path: Path) -> None:
    data = images()
    model = LinearModel().fit(data, validation=0.0)
    model.validation_ = {}
    text = Page(write_report(tmp_path / "report.html", method=model, data=data).read_text()).text
    assert "No rows were held out" in text
    assert "training pictures" in text


def test_tensors_are_taken(tmp_path: Path) -> None:
    data = Data(torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0)), None, "tensors", None)
    assert_self_contained(write_report(tmp_path / "r.html", method=LinearModel().fit(data), data=data).read_text())


def test_global_random_state_is_untouched(tmp_path: Path) -> None:
    data = vectors(3)
    model = LinearModel().fit(data)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    write_report(tmp_path / "report.html", method=model, data=data)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_an_absolute_folder_is_not_given_away(tmp_path: Path) -> None:
    data = vectors(2)
    text = write_report(tmp_path / "report.html", method=LinearModel().fit(data), data=data).read_text()
    assert str(tmp_path.parent) not in text
    assert tmp_path.name in text


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    data = vectors(2)
    with pytest.raises(StorageError, match="report.html"):
        write_report(tmp_path / "nowhere" / "report.html", method=LinearModel().fit(data), data=data)


def test_nearest_training_rows_are_the_nearest_and_copies_have_distance_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.report.material._CHUNK_NUMBERS", 64)
    data = vectors(5)
    model = LinearModel().fit(data)
    material = gather(model, data)
    copies = model.schema_.encode(data.values[model.train_rows_[:7]])
    queries = torch.cat([copies, material.samples_x[:20]])
    distance, index = nearest_training_rows(material, queries, 3)
    every = torch.cdist(queries.double(), model.schema_.encode(data.values[model.train_rows_]).double())
    truth, where = every.sort(dim=1)
    assert torch.allclose(distance.double(), truth[:, :3], atol=1e-5)
    assert np.array_equal(index, model.train_rows_[where[:, :3].numpy()])
    assert distance[:7, 0].abs().max() == 0
    assert set(index.ravel()) <= set(model.train_rows_)


def test_few_training_rows_have_few_neighbours(tmp_path: Path) -> None:
    data = replace(vectors(2), values=vectors(2).values[:4])
    model = LinearModel(rank=2).fit(data, validation=0.5)
    assert nearest_training_rows(gather(model, data), torch.zeros(1, 2), 3)[0].shape == (1, 2)
    assert_self_contained(write_report(tmp_path / "r.html", method=model, data=data).read_text())


@pytest.mark.parametrize("key", MEASURES)
@pytest.mark.parametrize("value", [0.0, 0.3, 0.7, 0.95, 1.0, 1.4, 30.0, float("nan"), float("inf")])
def test_every_value_has_a_verdict(key: str, value: float) -> None:
    tone, told = MEASURES[key].verdict(Reading(value))
    assert tone in {"good", "fair", "poor", "plain"}
    assert told
    if not np.isfinite(value):
        assert tone == "plain"


def test_copies_are_never_called_good() -> None:
    for key in ("nearest_ratio", "nearest_ratio_5"):
        assert MEASURES[key].verdict(Reading(0.0))[0] == "poor"
    assert MEASURES["w2_ratio"].verdict(Reading(0.5))[0] != "good"


def test_few_rows_earn_no_praise() -> None:
    tone, told = MEASURES["recall"].verdict(Reading(0.99), rows=23)
    assert tone == "plain"
    assert "23 rows" in told
    assert MEASURES["recall"].verdict(Reading(0.1), rows=23)[0] == "poor"


def test_readings_of_numbers_mappings_and_measurements() -> None:
    from pushforward.metrics.measurement import Measurement

    assert reading(2) == Reading(2.0)
    assert reading({"value": 1.0, "low": 0.5, "high": 1.5, "n": 10}) == Reading(1.0, 0.5, 1.5, 10)
    assert reading(Measurement(1.0, 0.5, 1.5, 10)).text() == "1 (0.500 to 1.50)"
    assert reading("words") is None
    assert reading(None) is None


@pytest.mark.parametrize("case", ["grey", "table", "plane"])
def test_the_card_has_a_readable_head_and_says_its_limits(case: str) -> None:
    data = CASES[case]()
    card = model_card(LinearModel().fit(data), data.name)
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "pushforward"
    assert "license" not in head
    for word in ("held-out", "no guarantee of privacy", "blurred", "pf.load(", "@misc{", "W2 ratio"):
        assert word in card
    prose = [line for line in card.splitlines() if not line.startswith("    ")]
    assert EVIL not in "\n".join(prose), "text of users shows as written instead of acting as HTML"


def test_the_card_of_a_model_without_numbers() -> None:
    model = LinearModel().fit(vectors(2), validation=0.0)
    model.validation_ = {}
    assert "no rows were held out" in model_card(model, "vectors")


def test_time_that_no_stage_accounts_for_is_shown(tmp_path: Path) -> None:
    data = vectors(2)
    model = LinearModel().fit(data)
    model.seconds_, model.run_["seconds"] = {"assign": 10.0}, 100.0
    text = write_report(tmp_path / "r.html", method=model, data=data).read_text()
    assert "Training and rest: 1 min 30 s" in text
    model.seconds_ = {"train": 99.0}
    assert "Training and rest" not in write_report(tmp_path / "r.html", method=model, data=data).read_text()
