"""The contract that every system meets, and the registry of systems."""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from pushforward.budget import Budget
from pushforward.condition import Condition, fit_condition, split_condition
from pushforward.data import Schema, fit_schema, load_data, split_rows, take_rows
from pushforward.data.known import known_rows
from pushforward.data.named_columns import is_name, split_group
from pushforward.data.rows import digest_of
from pushforward.errors import DataError, Diverged, NotFitted, NotSupported, nearest_name
from pushforward.laws import Law
from pushforward.parameters import check_parameters
from pushforward.run import Run, checked_seed
from pushforward.saving import require_same_data, save_model, write_config, write_model
from pushforward.source import SourceRows, encode_source, read_source

ABILITIES = (
    "sample",
    "log_prob",
    "encode",
    "decode",
    "reconstruct",
    "interpolate",
    "outlier_score",
    "translate",
    "distance",
)
_CHUNK = 4096
_FEW_STEPS = 50
_NO_LABELS = "condition: this model was fitted without labels; fit it with condition=... first."
Self = TypeVar("Self", bound="Method")
_REGISTRY: dict[str, type[Method]] = {}


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    authors: str
    year: int
    arxiv: str
    venue: str = ""

    @property
    def key(self) -> str:
        """The BibTeX key, such as ``hrusanov2026``."""
        return self.authors.split(",")[0].split(" and ")[0].split()[-1].lower() + str(self.year)

    def bibtex(self) -> str:
        """A BibTeX entry."""
        note = f"\n  note = {{{self.venue}}}," if self.venue else ""
        eprint = f"\n  eprint = {{{self.arxiv}}},\n  archivePrefix = {{arXiv}}" if self.arxiv else ""
        return (
            f"@misc{{{self.key},\n  title = {{{self.title}}},\n  author = {{{self.authors}}},\n  year = {{{self.year}}},"
            f"{note}{eprint}\n}}"
        )


@dataclass
class TrainingSet:
    """What ``_fit`` trains on, encoded and on the run's device; never a held-out row.

    Args:
        x: rows ``[n, *event_shape]``.
        labels: class numbers ``[n]``, or None.
        classes: number of classes (1 where there are no labels).
        source: rows of the source for translation and restoration, or None.
    """

    x: Tensor
    labels: Tensor | None = None
    classes: int = 1
    source: Tensor | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self.x.shape[1:])


@dataclass
class _Prepared:
    """Data read, split and encoded."""

    train: TrainingSet
    held: Tensor
    schema: Schema
    condition: Condition | None
    train_rows: np.ndarray
    held_rows: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    source: SourceRows | None = None

    def fingerprint(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.train.x.cpu().numpy()).tobytes())
        described = [self.schema.to_dict(), self.condition.to_dict() if self.condition is not None else None]
        digest.update(json.dumps(described, sort_keys=True).encode())
        if self.train.labels is not None:
            digest.update(self.train.labels.cpu().numpy().tobytes())
        if self.train.source is not None:
            digest.update(np.ascontiguousarray(self.train.source.cpu().numpy()).tobytes())
        return digest.hexdigest()


class Method(ABC):
    """A system that learns a law from data.

    A subclass is final. Its constructor takes keyword-only, typed arguments and stores them untouched: the signature is the
    configuration, the command line and the YAML. It implements ``_fit`` (the algorithm) and ``_build`` (the same law, untrained,
    for loading). What it can do follows from what its ``law_type`` has.

    After ``fit``: ``law_`` (the learned law, on encoded data), ``schema_``, ``history_`` (list of records), ``seconds_`` (of each
    stage), ``validation_`` (held-out numbers), ``warnings_``, ``train_rows_`` and ``held_rows_`` (row numbers), ``run_`` (seed,
    budget, device), ``data_info_``.
    """

    paper: ClassVar[Paper]
    kinds: ClassVar[frozenset[str]]
    law_type: ClassVar[type[Law]]
    stores_training_rows: ClassVar[bool] = False
    only_to_fit: ClassVar[frozenset[str]] = frozenset()  # arguments that a fitted law does without

    law_: Law
    schema_: Schema
    condition_: Condition | None
    history_: list[dict[str, Any]]
    seconds_: dict[str, float]
    validation_: dict[str, float]
    warnings_: list[str]
    train_rows_: np.ndarray
    held_rows_: np.ndarray
    source_rows_: SourceRows | None
    run_: dict[str, Any]
    params_: dict[str, Any]
    data_info_: dict[str, Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.__name__.startswith("_"):
            _REGISTRY[cls.__name__] = cls

    # ------------------------------------------------------------------ what a subclass writes

    @abstractmethod
    def _fit(self, data: TrainingSet, run: Run) -> Law:
        """The algorithm: learn a law from encoded rows, on the verbs of ``run``."""

    @abstractmethod
    def _build(self, event_shape: tuple[int, ...], classes: int) -> Law:
        """The law that ``_fit`` returns, with weights still to be loaded; buffers may have any shape."""

    def _check(self, data: TrainingSet) -> None:  # noqa: B027 - a hook, empty where there is nothing to check
        """Refuse arguments that do not suit each other or the data, with a ValueError that names argument, value and fix."""

    def _diagnose(self, law: Law, train: TrainingSet, held: Tensor, run: Run) -> list[str]:
        """Warnings after a fit that only this method can give."""
        return []

    # ------------------------------------------------------------------ fit

    def fit(
        self: Self,
        data: object,
        *,
        condition: object = None,
        group: object = None,
        source: object = None,
        budget: str | Budget | None = None,
        run: Run | None = None,
    ) -> Self:
        """Learn the law of the data.

        Args:
            data: anything that ``load_data`` reads: array, tensor, DataFrame, dataset, file, folder of images, named set.
            condition: labels ``[n]``, ``"labels"`` for those that come with the data, or the name of a table's column or of an
                array of the .npz.
            group: which rows belong together (the scans of one subject): an array ``[n]``, the name of an array of the .npz, or
                a table's column, which is then not modelled. Rows of one group are all trained on, or all held out.
            source: data of the source law, for methods that translate or restore; of the kind and shape of ``data``.
            budget: ``"60s"``, ``"5min"``, ``"2000 steps"``, ``"30 epochs"``; None is the run's, or else the method's default.
            run: seed, device, folder, progress; None is ``Run()``.

        Raises:
            DataError: the data cannot be used; the message says why.
            ValueError: an argument is out of its range.
            Diverged: the loss stopped being finite.
        """
        run = run if run is not None else Run()
        run.begin()
        if budget is not None:
            run.budget = Budget.parse(budget)
        new = copy(self)  # what was fitted before stays whole until the new fit has succeeded
        check_parameters(new, new.get_params())
        prepared = new._prepare(data, condition, source, run, group)
        new._check(prepared.train)
        fingerprint = prepared.fingerprint()
        if run.resuming and run.out is not None:
            require_same_data(run.out, fingerprint)
        with run.session(fingerprint), torch.inference_mode(False), torch.enable_grad():
            new._adopt(prepared, run, fingerprint)
            if run.out is not None and run.world.leader:
                write_config(new, run.out, "training")
            try:
                law = new._fit(prepared.train, run)
            except Diverged as error:
                self._rescue(new, error.law, prepared, run)
                raise
            new._finish(law.eval(), prepared, run)
            if run.out is not None and run.world.leader:
                new._save_run(run)
        vars(self).update(vars(new))
        return self

    def _rescue(self, new: Method, law: Law | None, prepared: _Prepared, run: Run) -> None:
        """What a fit had learned before it diverged, where that is usable: saved, and taken over by a model that had nothing."""
        if law is None:
            return
        run.interrupted = True
        new._finish(law.eval(), prepared, run)
        if run.out is not None and run.world.leader:
            new._save_run(run)
        if not hasattr(self, "law_"):
            vars(self).update(vars(new))

    def _prepare(self, data: object, condition: object, source: object, run: Run, group: object = None) -> _Prepared:
        """Read, split, and encode with a schema that has seen the training rows alone."""
        if source is not None and "translate" not in self.can():
            raise self._unsupported("translate")
        if condition is not None and not callable(getattr(self.law_type, "sample_given", None)):
            able = [name for name, method in registry().items() if hasattr(method.law_type, "sample_given")]
            raise NotSupported(
                f"{type(self).__name__} cannot be conditioned; methods that can: {', '.join(sorted(able))}."
            )
        loaded, groups = split_group(load_data(data), group, condition)
        values, labels, column = split_condition(loaded, condition)
        whole = fit_schema(values)  # every row is looked at, so that messages speak of the user's row numbers
        if whole.kind not in self.kinds:
            raise self._wrong_kind(whole.kind)
        train_rows, held_rows = split_rows(len(loaded), run.validation, seed=run.seed, groups=groups)
        if len(train_rows) < 2:
            raise DataError(
                f"validation: {run.validation:g} of {len(loaded)} rows leaves {len(train_rows)} to train on; use validation=0."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said above, about all rows
            schema = fit_schema(take_rows(values, train_rows))
        train = TrainingSet(schema.encode(take_rows(values, train_rows)).to(run.device))
        fitted = fit_condition(labels[train_rows], column) if labels is not None else None
        if labels is not None and fitted is not None:
            train.labels, train.classes = fitted.codes(labels[train_rows]).to(run.device), len(fitted.values)
        held_rows = held_rows[known_rows(take_rows(values, held_rows), take_rows(values, train_rows))]
        held = schema.encode(take_rows(values, held_rows)).to(run.device) if len(held_rows) else train.x[:0]
        info: dict[str, Any] = {
            "name": loaded.name,
            "source": loaded.source,
            "rows": len(train_rows),
            "held_out": len(held_rows),
            "sha256": digest_of(train.x),
        }
        for what, given, flag in (("condition", condition, "labels_given"), ("group", group, "groups_given")):
            if is_name(given):
                info[what] = given if isinstance(given, str) else int(given)  # type: ignore[call-overload]
            info[flag] = given is not None and not is_name(given)
        moved = None
        if source is not None:
            moved = read_source(source, schema, validation=run.validation, seed=run.seed, groups=groups)
            train.source, info = moved.train.to(run.device), info | moved.info
        return _Prepared(train, held, schema, fitted, train_rows, held_rows, info, moved)

    def _adopt(self, prepared: _Prepared, run: Run, fingerprint: str) -> None:
        """Attributes that are known before training."""
        self.params_ = self.get_params()
        self.schema_, self.condition_, self.data_info_ = prepared.schema, prepared.condition, prepared.info
        self.train_rows_, self.held_rows_ = prepared.train_rows, prepared.held_rows
        self.source_rows_ = prepared.source  # in memory alone, for the report: never saved
        self.history_, self.seconds_, self.validation_, self.warnings_ = run.history, run.seconds, {}, []
        self.run_ = {
            "seed": run.seed,
            "validation": run.validation,
            "device": run.device.type,
            "budget": str(run.budget) if run.budget else None,
            "checkpoint_every": run.checkpoint_every,
            "fingerprint": fingerprint,
        }

    def _finish(self, law: Law, prepared: _Prepared, run: Run) -> None:
        """Attributes that are known after training, and the held-out numbers."""
        self.law_ = law
        self.history_, self.seconds_ = run.history, run.seconds
        self.run_ |= {
            "seconds": round(run.elapsed, 2),
            "status": "interrupted" if run.interrupted else "finished",
        }
        if not run.interrupted:  # a resumed run begins with the budget as it was given
            self.run_["budget"] = str(run.budget) if run.budget else None
        with run.clock("validate"):
            self.validation_ = self._validate(law, prepared, run)
            found = _copying(self.validation_) + self._diagnose(law, prepared.train, prepared.held, run)
            if 0 < run.steps < _FEW_STEPS and run.timed:
                found.append(
                    f"the budget of {run.budget} was enough for {run.steps} steps only: the model is hardly trained."
                )
        self.warnings_ = found
        for text in found:
            warnings.warn(text, stacklevel=3)

    def _validate(self, law: Law, prepared: _Prepared, run: Run) -> dict[str, float]:
        """Fresh samples against the held-out rows, where there are any."""
        if not len(prepared.held):
            return {}
        from pushforward.metrics import held_out_report

        generator = torch.Generator(run.device).manual_seed(run.derived_seed("validation"))
        with torch.no_grad():
            drawn = _held_out_samples(law, prepared, generator)
        samples = prepared.schema.encode(prepared.schema.decode(drawn)).to(
            drawn
        )  # as the user gets them: clipped and rounded
        return held_out_report(samples, prepared.train.x, prepared.held)

    # ------------------------------------------------------------------ what a fitted model can do

    @classmethod
    def can(cls) -> frozenset[str]:
        """The abilities of this method: those of the law that it learns, and what follows from them."""
        has = {name for name in ABILITIES if callable(getattr(cls.law_type, name, None))}
        if {"encode", "decode"} <= has:
            has |= {"reconstruct", "interpolate"}
        return frozenset(has)

    def sample(self, n: int, *, seed: int | None = None, condition: object = None) -> Any:
        """Draw ``n`` rows of the learned law, in the kind, dtype and range of the data.

        Args:
            n: number of rows, at least 1.
            seed: equal seeds give equal rows; None gives fresh ones.
            condition: for a conditional model a label, or ``n`` labels; None draws labels with the training frequencies.
        """
        self._require("sample")
        n = _positive(n, "n")
        generator = torch.Generator(self.law_.device)
        generator.manual_seed(checked_seed(seed)) if seed is not None else generator.seed()
        codes = self._wanted_codes(n, condition, generator)
        sizes = [min(_CHUNK, n - start) for start in range(0, n, _CHUNK)]
        with torch.no_grad():
            if codes is None:
                x = torch.cat([self.law_.sample(size, generator=generator) for size in sizes])
            else:
                given: Callable[..., Tensor] = self.law_.sample_given  # type: ignore[assignment]
                x = torch.cat([given(part, generator=generator) for part in codes.split(_CHUNK)])
        return self._decoded(x, codes)

    def encode(self, data: object, *, condition: object = None) -> np.ndarray:
        """Latent codes ``[n, d]`` of rows of data."""
        self._require("encode")
        x, codes = self._encoded(data, condition)
        z: Tensor = self.law_.encode(x, codes)  # type: ignore[operator]
        return z.cpu().numpy()

    def decode(self, z: object, *, condition: object = None) -> Any:
        """Rows of data for latent codes ``[n, d]``."""
        self._require("decode")
        array = z.detach().cpu().numpy() if isinstance(z, Tensor) else np.asarray(z)
        wanted = tuple(getattr(self.law_, "latent_shape", array.shape[1:]))
        if array.ndim < 2 or array.shape[1:] != wanted or array.dtype.kind not in "fiu":
            raise ValueError(
                f"z: numbers of shape {['n', *wanted]} are needed, got {array.dtype} of shape {list(array.shape)}."
            )
        latent = torch.as_tensor(array, dtype=torch.float32, device=self.law_.device)
        codes = self._wanted_codes(len(latent), condition, torch.Generator(self.law_.device).manual_seed(0))
        with torch.no_grad():
            x: Tensor = self.law_.decode(latent, codes)  # type: ignore[operator]
        return self._decoded(x, codes)

    def translate(self, data: object, *, condition: object = None) -> Any:
        """Rows of the source carried to rows of the target: row ``i`` of the result belongs to row ``i`` of the data."""
        self._require("translate")
        values = load_data(data).values
        x = encode_source(values, self.schema_).to(self.law_.device)
        codes = self._wanted_codes(len(x), condition, torch.Generator(x.device).manual_seed(0))
        parts = [None] * max(1, -(-len(x) // _CHUNK)) if codes is None else codes.split(_CHUNK)
        carry: Callable[..., Tensor] = self.law_.translate  # type: ignore[assignment]
        with torch.no_grad():
            moved = torch.cat([carry(part, given) for part, given in zip(x.split(_CHUNK), parts, strict=True)])
        return self._decoded(moved, codes)

    def distance(self) -> float:
        """The estimated Wasserstein-1 distance between source and target, on the encoded scale of the schema."""
        self._require("distance")
        found: Tensor = self.law_.distance()  # type: ignore[operator]
        return float(found)

    def reconstruct(self, data: object, *, condition: object = None) -> Any:
        """The nearest rows that the model can make; of a model that restores, the restored rows of degraded ones."""
        self._require("reconstruct")
        if callable(getattr(self.law_, "translate", None)):
            return self.translate(data, condition=condition)
        x, codes = self._encoded(data, condition)
        z = self.law_.encode(x, codes)  # type: ignore[operator]
        with torch.no_grad():
            made: Tensor = self.law_.decode(z, codes)  # type: ignore[operator]
        return self._decoded(made, codes)

    def interpolate(self, first: object, last: object, *, steps: int = 8, condition: object = None) -> Any:
        """Rows on the way from each row of ``first`` to that of ``last``: ``steps`` a pair, pair after pair.

        Codes move where the latent law has mass: on great circles for a Gaussian one, on straight lines for bounded ones.
        """
        self._require("interpolate")
        steps = _positive(steps, "steps")
        start, codes = self._encoded(first, condition)
        end, _ = self._encoded(last, condition)
        if len(start) != len(end):
            raise ValueError(f"last: as many rows as in first are needed, got {len(end)} for {len(start)}.")
        path = self.law_.between(self.law_.encode(start, codes), self.law_.encode(end, codes), steps)  # type: ignore[operator]
        spread = codes.repeat_interleave(steps) if codes is not None else None
        with torch.no_grad():
            made: Tensor = self.law_.decode(path, spread)  # type: ignore[operator]
        return self._decoded(made, spread)

    def outlier_score(self, data: object, *, condition: object = None) -> np.ndarray:
        """A score ``[n]``, larger for rows that are less like the training data."""
        self._require("outlier_score")
        x, codes = self._encoded(data, condition)
        score: Tensor = self.law_.outlier_score(x, codes)  # type: ignore[operator]
        return score.cpu().numpy()

    def log_prob(self, data: object) -> np.ndarray:
        """Log-density ``[n]`` of rows, on the encoded scale of the schema (natural logarithm); of all classes together."""
        self._require("log_prob")
        x = self.schema_.encode(load_data(data).values).to(self.law_.device)
        with torch.no_grad():
            value: Tensor = self.law_.log_prob(x)  # type: ignore[operator]
        return value.cpu().numpy()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the fitted model into a folder that ``pushforward.load`` reads; no pickle.

        Raises:
            NotFitted: there is nothing to save yet.
            StorageError: the folder cannot be written or already holds something.
        """
        self._require_fitted()
        return save_model(self, Path(path), overwrite=overwrite)

    # ------------------------------------------------------------------ parameters

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments and their values."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor arguments.

        Raises:
            ValueError: an unknown name; the nearest one is suggested.
        """
        known = self.parameter_names()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}.{nearest_name(name, known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if repr(v) != repr(defaults[k].default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    # ------------------------------------------------------------------ helpers

    def _encoded(self, data: object, condition: object) -> tuple[Tensor, Tensor | None]:
        """Rows ``[n, *event]`` on the law's device, and class numbers ``[n]`` for a conditional model."""
        loaded = load_data(data)
        device = self.law_.device
        if self.condition_ is None:
            if condition is not None:
                raise ValueError(_NO_LABELS)
            return self.schema_.encode(loaded.values).to(device), None
        if condition is None and not self.condition_.labelled(loaded):
            raise DataError("condition: this model has classes; give a label, or one a row: condition=....")
        named = self.condition_.origin if condition is None else _spread(condition, len(loaded))
        values, labels, _ = split_condition(loaded, named)
        return self.schema_.encode(values).to(device), self.condition_.codes(labels).to(device)

    def _wanted_codes(self, n: int, condition: object, generator: torch.Generator) -> Tensor | None:
        if self.condition_ is None:
            if condition is not None:
                raise ValueError(_NO_LABELS)
            return None
        if condition is None:
            return self.condition_.draw(n, generator)
        labels = np.asarray(_spread(condition, n), dtype=object).reshape(-1)
        if len(labels) != n:
            raise ValueError(f"condition: one label, or one a row, is needed: got {len(labels)} labels for {n} rows.")
        return self.condition_.codes(labels).to(self.law_.device)

    def _decoded(self, x: Tensor, codes: Tensor | None) -> Any:
        """Back to the data's kind; the label column of a table returns to its place."""
        values: Any = self.schema_.decode(x)
        if codes is not None and self.condition_ is not None and self.condition_.column is not None:
            place = min(self.condition_.position, len(values.columns))
            values.insert(place, self.condition_.column, self.condition_.labels(codes))
        return values

    def _require(self, ability: str) -> None:
        if ability not in self.can():
            raise self._unsupported(ability)
        self._require_fitted()
        refused = self.law_.refusal(ability)
        if refused:
            raise NotSupported(f"this {type(self).__name__} model cannot {ability.replace('_', ' ')}: {refused}")

    def _require_fitted(self) -> None:
        if not hasattr(self, "law_"):
            raise NotFitted(
                f"this {type(self).__name__} is not fitted yet; call fit(data) first, or load a saved model."
            )

    def _unsupported(self, ability: str) -> NotSupported:
        able = sorted(name for name, method in registry().items() if ability in method.can())
        who = f"methods that can: {', '.join(able)}" if able else "no method can do it yet"
        return NotSupported(f"{type(self).__name__} cannot {ability.replace('_', ' ')}; {who}.")

    def _wrong_kind(self, kind: str) -> NotSupported:
        able = sorted(name for name, method in registry().items() if kind in method.kinds)
        return NotSupported(
            f"{type(self).__name__} does not take {kind} data; methods that do: {', '.join(able) or 'none yet'}."
        )

    def _save_run(self, run: Run) -> None:
        """The model into the run's folder; a run that was interrupted keeps its checkpoint."""
        if run.out is not None:
            run.write_history()
            write_model(self, run.out)
            if self.run_["status"] == "finished":
                run.complete()


def registry() -> dict[str, type[Method]]:
    """Every method by its class name."""
    from pushforward.methods import read_all

    read_all()
    return dict(_REGISTRY)


def find_method(name: str) -> type[Method]:
    """The method of that name, in any case and with or without ``-`` and ``_``.

    Raises:
        ValueError: there is none; the nearest name is suggested.
    """
    known = registry()
    plain = {key.lower(): key for key in known}
    wanted = name.lower().replace("-", "").replace("_", "")
    if wanted not in plain:
        raise ValueError(
            f"there is no method {name!r}.{nearest_name(name, known)} Methods: {', '.join(sorted(known))}."
        )
    return known[plain[wanted]]


def cite(method: Method | type[Method] | str) -> str:
    """The BibTeX entry of a method's paper."""
    return (find_method(method) if isinstance(method, str) else method).paper.bibtex()


def _held_out_samples(law: Law, prepared: _Prepared, generator: torch.Generator) -> Tensor:
    """Samples to compare with the held-out rows; of a translation, what it makes of held-out rows of the source."""
    if prepared.source is not None and len(prepared.source.held) >= 50 and prepared.train.labels is None:
        moved: Tensor = law.translate(prepared.source.held[:2000].to(law.device))  # type: ignore[operator]
        return moved
    return law.sample(min(max(len(prepared.held), 100), 2000), generator=generator)


def _copying(numbers: dict[str, float]) -> list[str]:
    """A warning where samples lie nearer to training rows than held-out rows do."""
    if numbers.get("memorisation_p", 1.0) < 1e-3 and numbers.get("nearest_ratio_5", 1.0) < 0.7:
        return [
            "many samples lie nearer to a training row than held-out data do (5 % quantile of the nearest-to-train ratio "
            f"{numbers['nearest_ratio_5']:.2f}): the model copies training data."
        ]
    return []


def _positive(n: object, name: str) -> int:
    """A positive whole number, whatever type it came in."""
    try:
        number = int(n)  # type: ignore[call-overload]
        good = number == n and number >= 1
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(f"{name}: a positive whole number is needed, got {n!r}.")
    return int(number)


def _spread(condition: object, n: int) -> Any:
    """One label stands for all ``n`` rows."""
    if isinstance(condition, Tensor):
        condition = condition.detach().cpu().numpy()
    if isinstance(condition, str) or np.ndim(np.asarray(condition, dtype=object)) == 0:
        return np.array([condition] * n, dtype=object)
    return condition


__all__ = ["ABILITIES", "Method", "Paper", "TrainingSet", "cite", "find_method", "registry"]
