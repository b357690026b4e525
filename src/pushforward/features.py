"""Which features an evaluation compares rows by, and how they are made from the training rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.errors import nearest_name
from pushforward.folders import write_atomically
from pushforward.metrics import Classifier, PCAFeatures, train_classifier
from pushforward.metrics.measurement import fixed_generator
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows, take
from pushforward.nets import random_features

if TYPE_CHECKING:
    from pushforward.data import Data, Schema

FeatureName: TypeAlias = Literal["raw", "pca", "classifier", "random"]

_DIM, _RANDOM_DIM = 32, 64  # few enough for a Frechet distance from 64 and 128 rows
_PCA_ROWS = 4096
_FEWEST_LABELLED, _FEWEST_A_CLASS, _MOST_CLASSES = 100, 10, 256


@dataclass(frozen=True)
class Features:
    """A feature map, ready to be shared by several evaluations.

    Attributes:
        map: carries encoded rows ``[n, *event_shape]`` to ``[n, d]``; None leaves them as they are.
        name: as it stands beside every number.
        told: what it is, in words.
    """

    map: FeatureMap | None
    name: str
    told: str


@dataclass(frozen=True)
class _Source:
    """What features are made from: training rows ``[n, *event_shape]`` (None where unknown) and their labels."""

    event_shape: tuple[int, ...]
    x: Tensor | None
    labels: np.ndarray | None
    seed: int
    device: torch.device
    cache: Path | None


def features_for(
    train: Data | None,
    schema: Schema,
    *,
    features: FeatureName | FeatureMap | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> Features:
    """The feature map for rows that ``schema`` encodes.

    Args:
        train: the training rows, with their labels where there are some; None where they are not known.
        schema: encodes them.
        features: ``"raw"`` (encoded values), ``"pca"`` (of the training rows), ``"classifier"`` (its last hidden layer,
            trained on the labels of the training rows), ``"random"`` (a convolutional network with fixed random weights), or
            any callable or module that carries encoded rows ``[n, *event_shape]`` to ``[n, d]``. None chooses: for pictures
            the classifier where there are labels to train it on, otherwise random; for vectors and tables the encoded values up
            to 32 of them, otherwise principal components.
        seed: of a classifier or of random weights.
        device: where they are computed.
        cache: file that keeps a trained classifier with its accuracy; it is trained again for other rows, labels or seeds.

    Raises:
        ValueError: an unknown name, or features that need training rows or labels which are not there.
    """
    if callable(features):
        return Features(features, feature_name(features), "features given by the user")
    if features is not None and (not isinstance(features, str) or features not in _MAKERS):
        known = ", ".join(get_args(FeatureName))
        hint = nearest_name(str(features), _MAKERS)
        raise ValueError(f"features: {features!r} is not known.{hint} Known are {known}, and any callable.")
    x = schema.encode(train).to(device) if train is not None else None
    labels = _plain_labels(train.labels) if train is not None and train.labels is not None else None
    source = _Source(schema.event_shape, x, labels, seed, torch.device(device), cache)
    return _MAKERS[features or _default(schema, source)](source)


def _default(schema: Schema, source: _Source) -> str:
    """The rule that `features_for` states."""
    if schema.kind == "image":
        return "random" if _lacking_labels(source) else "classifier"
    return "raw" if source.event_shape[0] <= _DIM or source.x is None else "pca"


def _raw(source: _Source) -> Features:
    return Features(None, "raw", "the encoded values as they are")


def _pca(source: _Source) -> Features:
    if source.x is None:
        raise ValueError(
            "features: principal components need the training rows; give train=, or use 'random' or 'raw'."
        )
    rows = take(source.x, _PCA_ROWS, fixed_generator(source.seed))
    fitted = PCAFeatures.fit(rows, min(_DIM, len(rows) - 1, rows[0].numel())).to(source.device)
    return Features(
        fitted, fitted.name, f"principal components of the training rows, {fitted.explained:.0%} of their variance"
    )


def _random(source: _Source) -> Features:
    net = random_features(source.event_shape, dim=_RANDOM_DIM, seed=source.seed).to(source.device).requires_grad_(False)
    rows = torch.zeros(2, _RANDOM_DIM, device=source.device)
    if source.x is not None:
        rows = feature_rows(take(source.x, 2000, fixed_generator()), net, name="train")
    kind = "a convolutional network" if len(source.event_shape) == 3 else "a layer"
    return Features(Standardised(net, rows), f"random-{_RANDOM_DIM}", f"{kind} with fixed random weights")


class Standardised(nn.Module):
    """A feature map shifted and scaled to mean 0 and mean variance 1, as polynomial kernels need it.

    Args:
        net: ``[n, *event_shape] -> [n, d]``.
        rows: its values on training rows ``[m, d]``; where they are all equal nothing is scaled.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, net: nn.Module, rows: Tensor) -> None:
        super().__init__()
        self.net, self.name = net, feature_name(net)
        spread = rows.var(dim=0).mean().sqrt()
        self.register_buffer("mean", rows.mean(dim=0))
        self.register_buffer("spread", torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[n, d]``."""
        out: Tensor = (self.net(x) - self.mean) / self.spread
        return out


def _classifier(source: _Source) -> Features:
    lacking = _lacking_labels(source)
    if lacking or source.x is None or source.labels is None:
        raise ValueError(f"features: a classifier cannot be trained: {lacking}; use 'random', 'pca' or 'raw'.")
    net = _kept(source.x, source.labels, source)
    told = f"the last hidden layer of a classifier of {len(net.classes)} classes, trained on the training rows"
    return Features(net, net.name, f"{told}; it is right on {net.accuracy:.1%} of those kept back for it")


_MAKERS: dict[str, Callable[[_Source], Features]] = {
    "raw": _raw,
    "pca": _pca,
    "classifier": _classifier,
    "random": _random,
}


def _lacking_labels(source: _Source) -> str:
    """Why no classifier can be trained; empty where one can."""
    if source.x is None:
        return "the training rows are not known (give train=)"
    if source.labels is None:
        return "the training rows have no labels"
    counts = Counter(source.labels.tolist())
    if not 2 <= len(counts) <= _MOST_CLASSES:
        return f"the labels name {len(counts)} classes, and 2 to {_MOST_CLASSES} are needed"
    if len(source.labels) < max(_FEWEST_LABELLED, _FEWEST_A_CLASS * len(counts)):
        return f"{len(source.labels)} labelled rows are too few for {len(counts)} classes"
    return ""


def _plain_labels(labels: np.ndarray) -> np.ndarray:
    """Labels that can be sorted: mixed ones as text."""
    return np.array([str(label) for label in labels.tolist()]) if labels.dtype == object else labels


# ---------------------------------------------------------------------- the classifier, kept in a file


def _kept(x: Tensor, labels: np.ndarray, source: _Source) -> Classifier:
    """The classifier from the file, or else a new one that is written there."""
    key = _key(x, labels, source.seed)
    found = _read(source.cache, key, source) if source.cache is not None else None
    if found is not None:
        return found
    net = train_classifier(x, labels, seed=source.seed, dim=_DIM)
    if source.cache is not None:
        write_atomically(source.cache, _packed(net, key))
    return net


def _key(x: Tensor, labels: np.ndarray, seed: int) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(x.cpu().numpy()).tobytes())
    digest.update(json.dumps([labels.tolist(), seed]).encode())
    return digest.hexdigest()


def _packed(net: Classifier, key: str) -> bytes:
    from safetensors.torch import save

    about = {"key": key, "accuracy": net.accuracy, "classes": list(net.classes)}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
    return save(tensors, metadata={"about": json.dumps(about)})


def _read(path: Path, key: str, source: _Source) -> Classifier | None:
    """The classifier in the file; None where there is none, or it was trained on something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about: dict[str, Any] = json.loads(header["__metadata__"]["about"])
        if about["key"] != key:
            return None
        with torch.random.fork_rng(devices=[]):
            net = Classifier.untrained(source.event_shape, _DIM, about["classes"])
        net.load_state_dict(load(content))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
        return None  # missing or damaged: it is only a cache
    net.accuracy = float(about["accuracy"])
    return net.requires_grad_(False).eval().to(source.device)


__all__ = ["FeatureName", "Features", "features_for"]
