"""Open what an audit names: a model, its base, and data with what each image is conditioned on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from geomem.data import DataSet
from geomem.data.captions import captioned
from geomem.errors import InputError
from geomem.jobs.audit.request import AuditRequest
from geomem.models import Model, PipelineScore, opened

__all__ = ["base_of", "model_of", "worded"]


def model_of(request: AuditRequest, data: DataSet, captions: Sequence[str]) -> Model:
    """The model that is audited.

    Args:
        request: The request.
        data: Data of its form.
        captions: Of the training images, where the request asks for some.

    Raises:
        InputError: As `models.opened`.
    """
    return _opened(request, data, request.model, captions, config=request.config, adapter=request.adapter)


def _opened(request: AuditRequest, data: DataSet, source: Any, captions: Sequence[str], **more: Any) -> Model:
    label = request.label
    if label is None and captions and captions[0].isdigit():
        label = int(captions[0])  # only to open a model that needs a class; each image has its own
    return opened(
        source, data, scheduler=request.scheduler, label=label, prompt=request.prompt, device=request.device, **more
    )


def worded(
    request: AuditRequest, model: Model, data: DataSet, source: str, named: str, classes: Sequence[str] = ()
) -> DataSet:
    """Data with what the model is conditioned on at each image; without, where all have the same.

    Args:
        request: The request.
        model: The model.
        data: The data.
        source: Where they are.
        named: The option that names them.
        classes: Names of classes in the order of their numbers; none for the data's own, sorted, as image folders number them.

    Raises:
        InputError: For captions that were asked for and are not there, classes that the training data lack, or a probe that cannot be
            had with a condition for each image.
    """
    bound = request.prompt is not None or request.label is not None
    # Only a text is conditioned on without being asked for: a column of a table may be anything.
    if model.takes == "nothing" or bound or (model.takes == "class" and request.captions is None):
        return data
    found = captioned(data, source, request.captions)
    if not found.captions:
        return found
    if request.probe is not None:
        raise InputError(
            "--probe: whole spectra are measured with one condition for all images; give it with --prompt or --label."
        )
    if model.takes == "text" or all(word.isdigit() for word in found.captions):
        return found
    known = list(classes) or sorted(set(found.captions))
    strange = sorted(set(found.captions) - set(known))
    if strange:
        raise InputError(f"{named}: has the class {strange[0]}, which the training images do not have.")
    return replace(found, captions=[str(known.index(word)) for word in found.captions])


def base_of(request: AuditRequest, model: Model, data: DataSet, captions: Sequence[str]) -> Model | None:
    """The base of a fine-tuned model, the same network where that is an adapter on it; None for a model that is audited alone.

    Raises:
        InputError: For a base of another form or noise process.
    """
    if request.adapter is not None:
        assert isinstance(model.score, PipelineScore)
        return replace(model, score=model.score.without_adapter())
    if request.base is None:
        return None
    found = _opened(request, data, request.base, captions)
    if found.shape != model.shape or found.takes != model.takes:
        raise InputError(
            f"--base: takes images of {found.shape} and is conditioned on {found.takes}, the model {model.shape} and {model.takes}; give "
            "the model that it was fine-tuned from."
        )
    (low, high), (least, most) = model.reach, found.reach
    if least > low * (1 + 1e-6) or most < high * (1 - 1e-6):
        raise InputError(
            f"--base: was trained at noise variances from {least:.4g} to {most:.4g}, the model from {low:.4g} to {high:.4g}; a fine-tuned "
            "model keeps its base's scheduler (--scheduler)."
        )
    return found
