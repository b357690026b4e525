"""Feature maps: what rows are turned into before they are compared.

Any callable ``[n, *event_shape] -> [n, d]`` will do (an Inception network, `pushforward.nets.random_features`); its
``name`` attribute, where it has one, is printed with the number. Here: principal components, and a small classifier
trained on the labels of the data, whose last hidden layer sees what tells the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.metrics.measurement import fixed_generator
from pushforward.nets import mlp

_CHUNK = 512


class PCAFeatures(nn.Module):
    """Scores on the leading principal components, all divided by one number so that their mean variance is 1.

    Attributes:
        mean: ``[d]``.
        components: ``[d, dim]``, divided by the common scale.
        explained: Share of the variance that the components hold.
        name: ``"pca-<dim>"``.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor, explained: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.explained = explained
        self.name = f"pca-{components.shape[1]}"

    @classmethod
    def fit(cls, x: Tensor, dim: int) -> PCAFeatures:
        """Fits on training rows ``[n, *event_shape]``.

        Raises:
            ValueError: Where ``dim`` is not below the number of rows and at most that of values.
        """
        rows = x.detach().flatten(1).double()
        if not 1 <= dim <= min(len(rows) - 1, rows.shape[1]):
            raise ValueError(f"dim={dim} does not suit data of shape {list(rows.shape)}; choose a smaller one")
        mean = rows.mean(dim=0)
        _, singular, axes = torch.linalg.svd(rows - mean, full_matrices=False)
        energy = singular.square()
        scale = (energy[:dim].mean() / (len(rows) - 1)).sqrt().clamp(min=1e-12)
        return cls(mean.to(x.dtype), (axes[:dim].T / scale).to(x.dtype), float(energy[:dim].sum() / energy.sum()))

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``[n, dim]``."""
        return (x.flatten(1) - self.mean) @ self.components


class Classifier(nn.Module):
    """A trained classifier; called, it gives the features of its last hidden layer, ``[n, dim]``.

    The features are divided by one number, so that their mean variance on the training rows is 1.

    Attributes:
        accuracy: Share of held-out rows that it gets right.
        classes: The labels, in the order of the scores.
        name: ``"classifier-<dim>"``.
    """

    scale: Tensor

    def __init__(self, body: nn.Module, dim: int, classes: Sequence[object]) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(dim, len(classes))
        self.register_buffer("scale", torch.ones(()))
        self.classes = tuple(classes)
        self.accuracy = math.nan
        self.name = f"classifier-{dim}"

    @classmethod
    def untrained(cls, event_shape: Sequence[int], dim: int, classes: Sequence[object]) -> Classifier:
        """The network for rows of this shape; its weights are torch's initial ones."""
        return cls(_body(event_shape, dim), dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[n, dim]`` of rows ``[n, *event_shape]``."""
        features: Tensor = self.body(x) / self.scale
        return features

    def scores(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the classes, ``[n, k]``."""
        scores: Tensor = self.head(F.silu(self.body(x)))
        return scores


def train_classifier(
    x: Tensor,
    labels: npt.ArrayLike | Tensor,
    *,
    seed: int = 0,
    dim: int = 32,
    held_fraction: float = 0.15,
    n_steps: int = 600,
) -> Classifier:
    """Trains a small classifier for its features: convolutional for images, a perceptron for vectors.

    Args:
        x: Training rows ``[n, *event_shape]``; best the generator's training rows, so that held-out rows stay unseen.
        labels: ``[n]``, numbers or words.
        seed: Of the weights, the split and the batches.
        dim: Number of features.
        held_fraction: Share of the rows kept back to measure ``accuracy``.
        n_steps: Steps of Adam on batches of 128.

    Raises:
        ValueError: Where labels do not match the rows, or name fewer than two classes.
    """
    classes, index = np.unique(np.asarray(labels), return_inverse=True)
    if len(index) != len(x) or len(classes) < 2:
        raise ValueError(
            f"labels: {len(index)} labels of {len(classes)} classes for {len(x)} rows; give one label a row"
        )
    rng = fixed_generator(seed)
    order = torch.randperm(len(x), generator=rng)
    held, kept = order[: math.ceil(held_fraction * len(x))], order[math.ceil(held_fraction * len(x)) :]
    y = torch.from_numpy(index.reshape(-1)).to(x.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier.untrained(x.shape[1:], dim, classes.tolist()).to(x.device)
    _train(model, x[kept.to(x.device)], y[kept.to(x.device)], n_steps, rng)
    _finish(model, x[kept.to(x.device)], x[held.to(x.device)], y[held.to(x.device)])
    return model


def _body(event_shape: Sequence[int], dim: int) -> nn.Module:
    if len(event_shape) != 3:
        n_values = math.prod(event_shape)
        return nn.Sequential(nn.Flatten(), mlp(n_values, (256, 128), dim))
    channels, side = event_shape[0], max(event_shape[1:])
    layers: list[nn.Module] = []
    for width in (16, 32, 64, 64)[: max(2, round(math.log2(max(side, 8) / 4)) + 1)]:
        stride = 2 if layers else 1
        layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, dim))


def _train(model: Classifier, x: Tensor, y: Tensor, n_steps: int, rng: torch.Generator) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=n_steps)
    for _ in range(n_steps):
        rows = torch.randint(len(x), (min(128, len(x)),), generator=rng).to(x.device)
        loss = F.cross_entropy(model.scores(x[rows]), y[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _finish(model: Classifier, x: Tensor, held_x: Tensor, held_y: Tensor) -> None:
    """Freezes the classifier, scales its features and measures its accuracy."""
    model.requires_grad_(False).eval()
    features = torch.cat([model(chunk) for chunk in x[:5000].split(_CHUNK)])
    model.scale.copy_(features.var(dim=0).mean().sqrt().clamp(min=1e-12))
    guesses = torch.cat([model.scores(chunk).argmax(dim=1) for chunk in held_x.split(_CHUNK)])
    model.accuracy = float((guesses == held_y).double().mean())
