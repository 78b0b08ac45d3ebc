"""The samples of an audit: drawn from the model, or given, and compared with the training data."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from geomem.data import DataSet
from geomem.jobs.audit.cost import STEPS
from geomem.jobs.job import Part, Tell, split
from geomem.measure.copies import compared
from geomem.measure.observe import TRAINING
from geomem.models import PipelineScore, drawn
from geomem.precision import full_precision
from geomem.scores import Score
from geomem.seeds import derived_seed

if TYPE_CHECKING:
    from geomem.jobs.audit.work import Work

__all__ = ["COPIES", "DRAWN", "Drawn", "joined_samples"]

# Records: the samples, and how near they lie to the training data.
DRAWN, COPIES = "drawn", "copies"
# Samples that are drawn and saved at once, and images that an autoencoder returns at once.
_AT_ONCE, _RETURNED = 16, 64


class Drawn:
    """Makes the records `drawn` and `copies`."""

    def __init__(self, work: "Work") -> None:
        self.work = work

    def draws(self, count: int) -> Sequence[Part]:
        """So many samples of the model, sixteen a part."""
        work = self.work

        def some(numbers: range) -> torch.Tensor:
            score = self._score_drawn(numbers)
            points = drawn(work.model, work.axes.mean, STEPS, numbers, seed=work.request.seed, score=score)
            return work.model.decode(points)

        def make(numbers: range, tell: Tell) -> xr.Dataset:
            parts = [numbers[i : i + work.batch] for i in range(0, len(numbers), work.batch)]
            with full_precision():
                images = torch.cat([some(part) for part in parts])
            return xr.Dataset({"image": (("sample", "value"), images.flatten(1).numpy(), {"units": "data units"})})

        return split(DRAWN, "drawing samples", count, _AT_ONCE, make)

    def _score_drawn(self, numbers: range) -> Score | None:
        """The score of samples: with the training images' captions in turn, and guidance."""
        score, request = self.work.model.score, self.work.request
        if not isinstance(score, PipelineScore) or score.takes == "nothing":
            return None
        captions = self.work.base.captions
        order = np.random.default_rng(derived_seed(request.seed, "captions")).permutation(self.work.keep)
        words = [captions[int(order[i % order.size])] for i in numbers] if len(captions) else score.words
        return score.conditioned(words, request.guidance)

    def copies(self) -> xr.Dataset:
        """Copies of training images among samples."""
        made = self.work.samples or self._drawn()
        training = self._returned(self.work.source(TRAINING))
        held_out = None if self.work.held_out is None else self._returned(self.work.held_out)
        return compared(training, made, held_out, self.work.duplicates, seed=self.work.request.seed)

    def _returned(self, images: DataSet) -> DataSet:
        """Images as the model's autoencoder returns them, to which samples can be no nearer; as they are, where memory does not suffice."""
        model = self.work.model
        size = 4 * len(images) * math.prod(model.image_shape)
        if model.codec is None or images.shape == model.shape or size > self.work.memory:
            return images
        parts = np.array_split(np.arange(len(images)), -(-len(images) // _RETURNED))
        decoded = torch.cat([model.decode(model.encode(images, some)) for some in parts]).float().numpy()
        return replace(images, values=decoded).arranged(images)

    def _drawn(self) -> DataSet:
        images = self.work.run.load(DRAWN)["image"].values
        note = f"They were drawn from {self.work.model.name} by its probability-flow ODE, in {STEPS} steps, and not clipped."
        made = DataSet("samples of the model", "drawn", images.reshape(-1, *self.work.model.image_shape), notes=(note,))
        return made.arranged(self.work.base)


def joined_samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Parts as one record, over samples."""
    return xr.concat(parts, "sample")
