"""``pf.compare`` and ``pushforward compare``: fair, resumable, and honest about what it found."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import pushforward as pf
from pushforward.budget import Budget
from pushforward.cli import main
from pushforward.compare import Board, course, process
from pushforward.compare.entrants import entrants_of, seeds_of
from pushforward.compare.forecast import Forecast
from pushforward.compare.handover import read_data, write_data
from pushforward.compare.ranking import clearly_better, copied, spread, standings
from pushforward.compare.results import REFERENCE, Result
from pushforward.compare.trial import outcome_of
from pushforward.data import Data
from pushforward.metrics import Measurement

pytestmark = pytest.mark.timeout(900)  # processes start slowly on a machine that has much else to do
SMALL = pf.NeuroSQL(latent_dim=2, width=8)
TOO_WIDE = pf.NeuroSQL(latent_dim=5000)
QUICK: dict[str, Any] = {"budget": "20 steps", "progress": False}


def vectors(n: int = 160, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)) @ np.array([[2.0, 0, 0], [1, 1, 0], [0, 0, 3]]) + 5


def table(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], n)
    size, count = rng.normal(size=n) + 2 * (kind == "a"), rng.integers(0, 40, n)
    return pd.DataFrame({"size": size, "person": np.arange(n) // 4, "n": count, "kind": kind})


class Here:
    """Does jobs in this process, and counts them; may be interrupted before one of them."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, int]] = []
        self.interrupt_at = -1

    def __call__(self, job: dict[str, Any], work: Path, tick: Any) -> dict[str, Any]:
        if not job["rehearsal"]:
            if len(self.jobs) == self.interrupt_at:
                raise KeyboardInterrupt
            self.jobs.append((job["method"], job["seed"]))
        return outcome_of(json.loads(json.dumps(job)))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Fits in this process: a second each for starting a new one is saved where that is not what is tested."""
    runner = Here()
    monkeypatch.setattr(course, "run_job", runner)
    return runner


# ---------------------------------------------------------------------- the command, with processes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    pd.DataFrame(vectors(300), columns=["a", "b", "c"]).to_csv(folder / "points.csv", index=False)
    assert main(arguments(folder)) == 0
    return folder


def arguments(folder: Path) -> list[str]:
    given = {
        "--methods": "neurosql,gaussian-mixture",
        "--budget": "20 steps",
        "--seeds": "2",
        "--out": str(folder / "out"),
    }
    return ["compare", str(folder / "points.csv"), *(part for pair in given.items() for part in pair), "--recommend"]


def test_the_command_writes_everything(finished: Path) -> None:
    out = finished / "out"
    names = {entry.name for entry in out.iterdir()}
    assert names == {"config.yaml", "table.csv", "table.md", "report.html", "results"}
    keys = {f"{key}-seed{seed}.json" for key in ("neurosql", "gaussianmixture") for seed in (0, 1)}
    assert {entry.name for entry in (out / "results").iterdir()} == keys | {"reference.json"}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["settings"]["budget"] == "20 steps"
    assert config["seeds"] == [0, 1]
    assert config["methods"]["NeuroSQL"]["lattice"] == "refresh"


def test_the_table_has_every_number_with_its_interval(finished: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((finished / "out" / "table.csv").read_text())))
    assert [row["place"] for row in rows] == ["1", "2", ""]
    assert rows[-1]["method"] == REFERENCE
    for row in rows[:2]:
        assert row["seeds"] == "2"
        for name in ("column_shapes", "pair_trends", "detection_forest", "frechet"):
            value, low, high, sd = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high", "_sd"))
            assert low <= value <= high
            assert sd >= 0
        for name in ("seconds", "cpu_seconds", "samples_per_second", "parameters", "peak_memory_mib"):
            assert float(row[name]) > 0, name
        assert float(row["steps"]) == 20


def test_the_same_command_fits_nothing_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError

    before = (finished / "out" / "table.csv").read_text()
    monkeypatch.setattr(course, "run_job", never)
    assert main(arguments(finished)) == 0
    assert (finished / "out" / "table.csv").read_text() == before
    told = capsys.readouterr()
    assert "For points" in told.out
    assert "report.html" in told.out
    assert "done already" in told.err


def test_what_broke_down_is_tried_again_and_what_was_refused_is_not(here: Here, tmp_path: Path) -> None:
    out = tmp_path / "out"
    methods = [TOO_WIDE, SMALL]
    first = pf.compare(vectors(), methods=methods, out=out, **QUICK)
    broken = [path for path in (out / "results").glob("*seed0.json") if not json.loads(path.read_text())["failed"]]
    broken[0].write_text(Result("NeuroSQL", 0, failed="the process was killed").as_json())
    jobs = len(here.jobs)
    again = pf.compare(vectors(), methods=methods, out=out, **QUICK)
    assert here.jobs[jobs:] == [("NeuroSQL", 0)]
    assert [r.metrics for r in again.results] == [r.metrics for r in first.results]


def test_other_settings_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(finished)
    given[given.index("20 steps")] = "30 steps"
    assert main(given) == 2
    assert "budget: '20 steps' there, '30 steps' here" in capsys.readouterr().err
    pd.DataFrame(vectors(seed=1), columns=["a", "b", "c"]).to_csv(finished / "other.csv", index=False)
    with pytest.raises(pf.StorageError, match="the rows have changed"):
        pf.compare(finished / "other.csv", methods=["neurosql"], seeds=2, out=finished / "out", **QUICK)


# ---------------------------------------------------------------------- the course of it


def test_a_failed_method_is_a_row(here: Here) -> None:
    board = pf.compare(vectors(), methods=[TOO_WIDE, "gaussianmixture", SMALL], seeds=2, **QUICK)
    labels = [s.label for s in board.standings]
    assert labels[-1] == "NeuroSQL(latent_dim=5000)"
    assert board.standings[-1].place is None
    assert "latent_dim" in board.standings[-1].failed[0]
    assert [s.place for s in board.standings] == [1, 2, None]
    assert len(here.jobs) == 5  # what was refused is not tried with another seed
    assert "failed: latent_dim" in board.table["note"].tolist()[2]
    assert "nothing came of NeuroSQL(latent_dim=5000)" in board.recommend()


def test_all_rows_stand_on_the_same_split_and_seeds_differ(here: Here) -> None:
    board = pf.compare(vectors(), methods=[SMALL], seeds=[5, 7], **QUICK)
    first, second = board.results
    assert (first.seed, second.seed) == (5, 7)
    assert first.metrics["energy"].value != second.metrics["energy"].value
    again = pf.compare(vectors(), methods=[SMALL], seeds=[5], **QUICK)
    assert again.results[0].metrics == first.metrics
    assert again.reference.metrics == board.reference.metrics
    assert (board.context["rows"], board.context["held"]) == (128, 32)


def test_the_reference_is_known_as_copies(here: Here) -> None:
    board = pf.compare(vectors(), methods=["gaussianmixture"], seeds=1, **QUICK)
    assert copied(board.reference.metrics)
    assert not board.standings[0].copies


def test_interrupted_and_continued(here: Here, tmp_path: Path) -> None:
    given: dict[str, Any] = {"methods": [SMALL, "gaussianmixture"], "seeds": 2, "out": tmp_path / "out", **QUICK}
    here.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt, match="3 of 4 fits, which are kept in .* the same command continues"):
        pf.compare(vectors(), **given)
    assert "not complete" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / ".work").exists()
    here.interrupt_at = -1
    board = pf.compare(vectors(), **given)
    assert here.jobs == [("NeuroSQL", 0), ("GaussianMixture", 0), ("NeuroSQL", 1), ("GaussianMixture", 1)]
    whole = pf.compare(vectors(), **{**given, "out": None})
    assert [r.metrics for r in board.results] == [r.metrics for r in whole.results]
    assert "not complete" not in (tmp_path / "out" / "report.html").read_text()


def test_methods_and_seeds_may_be_added(here: Here, tmp_path: Path) -> None:
    pf.compare(vectors(), methods=["gaussianmixture"], seeds=1, out=tmp_path / "out", **QUICK)
    pf.compare(vectors(), methods=["gaussianmixture", SMALL], seeds=2, out=tmp_path / "out", **QUICK)
    assert here.jobs == [("GaussianMixture", 0), ("NeuroSQL", 0), ("GaussianMixture", 1), ("NeuroSQL", 1)]


def test_overwrite_begins_again(here: Here, tmp_path: Path) -> None:
    for _ in range(2):
        pf.compare(vectors(), methods=["gaussianmixture"], seeds=1, out=tmp_path / "out", overwrite=True, **QUICK)
    assert len(here.jobs) == 2


def test_a_damaged_result_is_made_again(here: Here, tmp_path: Path) -> None:
    given: dict[str, Any] = {"methods": ["gaussianmixture"], "seeds": 1, "out": tmp_path / "out", **QUICK}
    pf.compare(vectors(), **given)
    (tmp_path / "out" / "results" / "gaussianmixture-seed0.json").write_text("{")
    pf.compare(vectors(), **given)
    assert len(here.jobs) == 2


def test_a_folder_with_other_files_is_left_alone(here: Here, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(pf.StorageError, match="thesis.txt"):
            pf.compare(vectors(), methods=["gaussianmixture"], out=tmp_path, overwrite=overwrite, **QUICK)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_is_never_replaced(here: Here, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("format: 1\nmethod: NeuroSQL\n")
    with pytest.raises(pf.StorageError, match="other files"):
        pf.compare(vectors(), methods=["gaussianmixture"], out=tmp_path, overwrite=True, **QUICK)


def test_no_global_generator_is_touched(here: Here) -> None:
    torch.manual_seed(3)
    state, numbers = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    pf.compare(vectors(), methods=["gaussianmixture"], seeds=1, **QUICK)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numbers == np.random.get_state()[1]).all()


def test_progress_announces_and_counts_down(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    pf.compare(vectors(), methods=["gaussianmixture"], seeds=2, budget="2s", progress=True)
    told = capsys.readouterr().err
    assert "1 methods, 2 seeds, 2s each on array: 128 rows to train on, 32 held out; 2 fits" in told
    assert "2 fits will take about" in told
    assert "Ctrl-C" in told
    assert "1/2 GaussianMixture, seed 0" in told
    assert " left" in told


# ---------------------------------------------------------------------- kinds of data


def test_a_table_with_condition_group_and_target(here: Here) -> None:
    board = pf.compare(
        table(300), methods=["gaussianmixture"], seeds=1, condition="kind", group="person", target="kind", **QUICK
    )
    result = board.results[0]
    assert not result.failed
    assert {"tstr_forest", "column_shapes", "pair_trends", "detection_forest"} <= set(result.metrics)
    assert board.criteria == ["column_shapes", "pair_trends", "detection_forest", "tstr_forest"]
    assert "person" not in json.dumps(board.context["notes"])


def test_groups_stay_on_one_side() -> None:
    rows = read_rows(table(), group="person")
    assert list(rows.train.values.columns) == ["size", "n", "kind"]
    sizes = set(rows.train.values["size"]) | set(rows.held.values["size"])
    sides = table().assign(train=lambda t: t["size"].isin(rows.train.values["size"])).groupby("person")["train"]
    assert len(sizes) == 200
    assert sides.nunique().eq(1).all()


def read_rows(data: Any, **more: Any) -> Any:
    from pushforward.compare.rows import read_rows as read

    given = {"condition": None, "group": None, "holdout": None, "validation": 0.2, "seed": 0, "target": None}
    return read(data, **{**given, **more})


def test_labels_as_an_array_condition(here: Here) -> None:
    labels = (vectors()[:, 0] > 5).astype(int)
    board = pf.compare(vectors(), methods=["gaussianmixture"], seeds=1, condition=labels, **QUICK)
    assert not board.results[0].failed


def test_categories_that_only_held_out_rows_have_are_left_out() -> None:
    held = table(80)
    held.loc[:4, "kind"] = "c"
    for condition in (None, "kind"):
        rows = read_rows(table(), holdout=held, condition=condition)
        assert len(rows.held) == 75
        assert "5 held-out rows with categories" in rows.notes[0]


def test_rows_that_were_trained_on_are_noticed() -> None:
    assert read_rows(vectors()).held_out
    rows = read_rows(vectors(), holdout=vectors()[:40])
    assert not rows.held_out
    assert "40 of the 40 rows equal training rows" in rows.notes[0]


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"methods": ["gausianmixture"]}, ValueError, "Perhaps you meant 'GaussianMixture'"),
        ({"methods": []}, ValueError, "methods: none is named"),
        ({"methods": ["vae", "VAE"]}, ValueError, "VAE is named twice"),
        ({"methods": [3]}, ValueError, "names of methods"),
        (
            {"methods": [pf.NeuroSQL(generator=torch.nn.Linear(2, 2))]},
            ValueError,
            "generator of NeuroSQL.* process of its own",
        ),
        ({"seeds": 0}, ValueError, "seeds: at least one"),
        ({"seeds": [1, 1]}, ValueError, "names a seed twice"),
        ({"seeds": "three"}, ValueError, "seeds: a number of seeds"),
        ({"budget": "soon"}, ValueError, "budget: cannot read"),
        ({"validation": 0.0}, ValueError, "validation: a share"),
        ({"target": "a"}, ValueError, "target: is for tables"),
        ({"features": "clasifier"}, ValueError, "Perhaps you meant 'classifier'"),
        ({"features": "classifier"}, ValueError, "no labels"),
        ({"condition": "mood"}, pf.DataError, "no column 'mood'"),
        ({"condition": np.zeros(160)}, pf.DataError, "2 to 256 classes are needed"),
        ({"holdout": vectors(10)}, pf.DataError, "10 held-out rows are too few"),
        ({"holdout": vectors()[:, :2]}, pf.DataError, "2"),
        ({"holdout": table()}, pf.DataError, "DataFrame"),
        ({"data": vectors(30)}, pf.DataError, "too few to compare methods"),
        (
            {"data": table(), "condition": "kind", "holdout": table().query("kind == 'a'")},
            pf.DataError,
            "of the class 'a'",
        ),
        ({"data": table(), "target": "knd"}, ValueError, "Perhaps you meant 'kind'"),
    ],
)
def test_mistakes_are_explained(
    given: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, here: Here
) -> None:
    given = {"data": vectors(), "methods": ["gaussianmixture"], "out": tmp_path / "out", **QUICK, **given}
    with pytest.raises(error, match=message):
        pf.compare(given.pop("data"), **given)
    assert not (tmp_path / "out").exists()
    assert not here.jobs


def test_a_method_of_the_running_program_is_refused() -> None:
    class _Local(pf.NeuroSQL):
        pass

    with pytest.raises(ValueError, match="a module that can be imported"):
        entrants_of([_Local()], "vector")


def test_by_default_all_methods_that_take_the_data() -> None:
    for kind in ("image", "table", "vector"):
        labels = {entrant.label for entrant in entrants_of(None, kind)}
        assert labels == {name for name, cls in pf.registry().items() if kind in cls.kinds}
    assert seeds_of(3) == [0, 1, 2]


# ---------------------------------------------------------------------- processes

CULPRITS = """
import os, signal, sys, time
from pathlib import Path
import pushforward as pf

class _Culprit(pf.NeuroSQL):
    def _fit(self, data, run):
        Path(os.environ["CULPRIT_FILE"]).write_text(str(os.getpid()))
        deed = os.environ["CULPRIT_DEED"]
        if deed == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "exit":
            sys.stderr.write("the last words")
            sys.stderr.flush()
            os._exit(3)
        time.sleep(120)
"""


@pytest.fixture
def culprit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job whose method does what CULPRIT_DEED says."""
    (tmp_path / "culprits.py").write_text(CULPRITS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CULPRIT_FILE", str(tmp_path / "pid"))
    write_data(tmp_path / "rows.npz", Data(vectors()))
    files = {name: str(tmp_path / f"{name}.npz") for name in ("rows", "samples", "rebuilt")}
    who = {"module": "culprits", "method": "_Culprit", "parameters": {}, "seed": 0}
    return {**files, **who, "held": None, "budget": "2 steps", "condition": None, "n": 20, "rehearsal": False}


@pytest.mark.parametrize(
    ("deed", "message"), [("killed", "signal 9.*memory"), ("exit", "ended with status 3: the last words")]
)
def test_the_death_of_a_process_is_a_reason(
    deed: str, message: str, culprit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CULPRIT_DEED", deed)
    outcome = process.run_job(culprit, tmp_path, lambda: None)
    assert re.search(message, outcome["failed"]), outcome


def gone(pid: int, within: float = 20.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_an_interrupt_ends_the_process(
    culprit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CULPRIT_DEED", "sleep")

    def interrupt() -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run_job(culprit, tmp_path, interrupt)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_process_ends_with_the_one_that_started_it(
    culprit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CULPRIT_DEED", "sleep")
    (tmp_path / "given.json").write_text(json.dumps(culprit))
    code = (
        "import json, sys; from pathlib import Path; from pushforward.compare.process import run_job; "
        f"sys.path.insert(0, {str(tmp_path)!r}); here = Path({str(tmp_path)!r}); "
        "run_job(json.loads((here / 'given.json').read_text()), here, lambda: None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 100
    while not (tmp_path / "pid").exists() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(int((tmp_path / "pid").read_text()))


# ---------------------------------------------------------------------- data in files


def frames() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "int": np.array([3, 1, 2], dtype=np.int16),
            "float": [0.1, np.nan, 1e300],
            "bool": [True, False, True],
            "text": ["a", None, "b"],
            "mixed": [1, "x", None],
            "category": pd.Categorical(["lo", "hi", None], categories=["lo", "mid", "hi"], ordered=True),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "string": pd.array(["p", None, "q"], dtype="string"),
            7: [1.5, 2.5, 3.5],
        }
    )


def test_a_table_there_and_back(tmp_path: Path) -> None:
    write_data(tmp_path / "t.npz", Data(frames(), arrays={"who": np.array(["x", None, "y"], dtype=object)}))
    back = read_data(tmp_path / "t.npz")
    pd.testing.assert_frame_equal(back.values, frames())
    assert back.arrays["who"].tolist() == ["x", None, "y"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, ">f8", bool])
def test_an_array_there_and_back(tmp_path: Path, dtype: Any) -> None:
    values = (np.random.default_rng(0).random((5, 4, 4)) * 9).astype(dtype)
    given = Data(values, np.array([0, 1, 1, 0, 1]), "name", ("no", "yes"))
    write_data(tmp_path / "a.npz", given)
    back = read_data(tmp_path / "a.npz")
    assert back.values.dtype == values.dtype
    assert (back.values == values).all()
    assert back.labels.tolist() == given.labels.tolist()
    assert (back.name, back.label_names) == ("name", ("no", "yes"))


def test_a_tensor_becomes_an_array(tmp_path: Path) -> None:
    write_data(tmp_path / "t.npz", Data(torch.arange(6.0, dtype=torch.bfloat16).reshape(3, 2)))
    assert read_data(tmp_path / "t.npz").values.tolist() == [[0, 1], [2, 3], [4, 5]]


# ---------------------------------------------------------------------- places and advice


def result(label: str, seed: int = 0, *, copies: bool = False, **numbers: tuple[float, float]) -> Result:
    """A result with numbers given as value and half width."""
    metrics = {name: Measurement(v, v - w, v + w, 100) for name, (v, w) in numbers.items()}
    if copies:
        metrics |= {"memorisation_p": Measurement(1e-9, math.nan, math.nan, 100)}
        metrics |= {"nearest_ratio_5": Measurement(0.1, 0.05, 0.2, 100)}
    facts = {"seconds": 60.0, "cpu_seconds": 60.0, "samples": 100.0, "sampling_seconds": 0.1, "parameters": 1000.0}
    return Result(label, seed, metrics=metrics, facts={**facts, "peak_bytes": 3e8, "total_seconds": 70.0})


def good(label: str, shift: float = 0.0, width: float = 0.1, **more: Any) -> Result:
    auc = (0.5 + 0.1 * shift, width)
    return result(label, frechet=(1 + shift, width), recall=(0.9 - 0.2 * shift, width), c2st_auc=auc, **more)


def board(*results: Result) -> Board:
    context = {
        "data": "points",
        "kind": "vector",
        "shape": [3],
        "rows": 1000,
        "held": 200,
        "held_out": True,
        "missing": 0,
        "budget": "60s",
        "seeds": [0],
        "features": {"name": "raw", "told": "the values"},
    }
    return Board(results, good(REFERENCE, -0.2, copies=True), context)


def test_copies_come_last_however_good() -> None:
    found = standings([good("B", 2.0), good("copier", -0.5, copies=True), good("A", 1.0)], "vector")
    assert [(s.label, s.place) for s in found] == [("A", 1), ("B", 2), ("copier", 3)]
    assert [s.mean_rank for s in found] == [1, 2, 1]
    told = board(good("copier", -0.5, copies=True), good("A", 1.0)).recommend()
    assert "only A can be recommended" in told
    assert "Samples of copier lie too near training rows" in told


def test_a_number_that_is_lacking_is_worse_than_any() -> None:
    lacking = result("L", recall=(0.99, 0.1), c2st_auc=(0.5, 0.1))
    ranks = {s.label: s.mean_rank for s in standings([lacking, good("A", 3.0), good("B", 4.0)], "vector")}
    assert ranks == pytest.approx({"L": 5 / 3, "A": 5 / 3, "B": 8 / 3})
    assert [s.label for s in standings([result("L", recall=(0.5, 0.1)), good("A", 1.0)], "vector")] == ["A", "L"]


def test_an_area_below_a_half_is_no_merit() -> None:
    below, half = result("below", c2st_auc=(0.4, 0.05)), result("half", c2st_auc=(0.5, 0.05))
    assert {s.mean_rank for s in standings([below, half], "vector")} == {1.5}


def test_seeds_widen_the_interval() -> None:
    found = spread([Measurement(v, v - 1, v + 1, 10) for v in (0.0, 4.0)])
    assert (found.mean, found.low, found.high, found.n) == (2, 0, 4, 2)
    assert found.sd == pytest.approx(8**0.5)
    alone = spread([Measurement(0.2, math.nan, math.nan, 10)])
    assert (alone.low, alone.high) == (0.2, 0.2)
    assert math.isnan(alone.sd)


def test_clearly_better_needs_intervals_apart() -> None:
    near, far = standings([good("A"), good("B", 0.1)], "vector"), standings([good("A"), good("B", 3.0)], "vector")
    assert clearly_better(*near, "vector") == []
    assert clearly_better(*far, "vector") == ["frechet", "recall", "c2st_auc"]


@pytest.mark.parametrize(
    ("results", "wanted"),
    [
        ([good("A"), good("B", 0.1)], "It cannot be told from B, because all intervals overlap"),
        (
            [good("A"), good("B", 3.0)],
            "the next one, B, is clearly worse in Fréchet distance, recall and two-sample AUC",
        ),
        (
            [good("A", 3.0), good("B", 5.0)],
            "a classifier still tells samples of A from real rows (two-sample AUC 0.800)",
        ),
        ([good("A", copies=True)], "No method can be recommended for points: samples of A lie too near"),
        ([Result("A", 0, failed="out of memory")], "nothing came of A. The reasons are in the notes"),
        ([good("A")], "only A can be recommended"),
        ([good("A"), Result("A", 1, failed="loss is not finite")], "some seeds of A failed"),
    ],
)
def test_advice_is_two_sentences_from_the_table(results: list[Result], wanted: str) -> None:
    told = board(*results).recommend()
    assert wanted.lower() in told.lower()
    assert told.count(". ") == 1
    assert told.endswith(".")


def test_markdown_has_a_row_for_everyone() -> None:
    found = board(good("A|B"), Result("C", 0, failed="no"), good("D", 1.0, copies=True))
    lines = found.to_markdown().splitlines()
    assert len(lines) == 2 + 4
    assert r"A\|B" in lines[2]
    assert len({len(line.replace(r"\|", "").split("|")) for line in lines}) == 1
    assert "failed: no" in lines[4]
    assert "put last" in lines[3]
    assert "A|B" in repr(found)


def test_results_there_and_back(tmp_path: Path) -> None:
    given = good("A", copies=True)
    (tmp_path / "r.json").write_text(given.as_json())
    back = Result.read(tmp_path / "r.json")
    assert back is not None
    assert back.as_json() == given.as_json()
    assert math.isnan(back.metrics["memorisation_p"].low)


def test_forecasts_learn() -> None:
    timed, counted = Forecast(Budget.parse("60s"), 5.0), Forecast(Budget.parse("20 steps"), 5.0)
    assert timed.of_all(["A", "A", "B"]) == 195
    assert counted.of("A") is None
    for forecast in (timed, counted):
        forecast.learn(good("A"))
        assert forecast.of_all(["A", "B"]) == 140
