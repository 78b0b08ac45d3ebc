"""The options of `geomem audit`."""

from dataclasses import dataclass
from typing import Any

from geomem.errors import InputError
from geomem.jobs.parsing import duration_text, parse_duration, parse_times, times_text
from geomem.jobs.reading import Budgeted, data_option
from geomem.jobs.request import option, options
from geomem.limits import LARGEST_LABEL

__all__ = ["AuditRequest"]

_MEASURING, _MODEL = "What is measured", "The model"
# Seconds of everything but whole spectra where the user does not say how many, and with --quick.
_BUDGET = (480.0, 60.0)
# Samples drawn where the user does not say how many, and with --quick.
_DRAWS = (128, 32)
# Most dimensions in which all directions are measured by default, and how many random directions beyond; and with --quick.
_DIRECTIONS = {False: (4096, 512), True: (256, 64)}


@dataclass(frozen=True)
class AuditRequest(Budgeted):
    """Is this model memorizing its training data?

    Compares the degrees of freedom of the model at images that it was trained on with those at held-out images, and its samples with
    its training data. A fine-tuned model is compared with its base at the same images (--adapter, --base). In Python MODEL may be any
    score.
    """

    model: Any = option(  # noqa: RUF009 - a field like the others
        help="Diffusers folder, or a model of the hub as hf:owner/name, such as hf:google/ddpm-cifar10-32.",
        positional=True,
        path=True,
    )
    trained_on: str | None = data_option(
        "All training data of the model; without them only its confidence at held-out data can be judged", None
    )
    held_out: str | None = data_option(
        "Held-out data of the same kind; without them only copies among its samples can be found", None
    )
    samples: str | None = data_option("Samples of the model; by default the audit draws some", None)
    scheduler: str | None = option(
        None, help="Folder or file of a scheduler to use instead of the model's own.", path=True, group=_MODEL
    )
    config: str | None = option(
        None, help="Folder of the configurations of a MODEL that is one .safetensors file.", path=True, group=_MODEL
    )
    adapter: str | None = option(
        None,
        help="A LoRA or textual inversion, a safetensors file or its folder: is it memorizing? MODEL is its base and the control.",
        path=True,
        group=_MODEL,
    )
    base: str | None = option(
        None, help="The model that MODEL was fine-tuned from, as the control.", path=True, group=_MODEL
    )
    label: int | None = option(
        None, help="Class of a class-conditional model.", least=0, most=LARGEST_LABEL, group=_MODEL
    )
    prompt: str | None = option(None, help="Text for all images, of a text-conditional model.", group=_MODEL)
    captions: str | None = option(
        None,
        help="Column of metadata.jsonl or captions.csv beside the images that conditions the model on each; folders for the names of "
        "subfolders. By default the captions that are there.",
        group=_MODEL,
    )
    guidance: float = option(
        1.0, help="Scale of classifier-free guidance of the samples that are drawn.", least=0, most=1000, group=_MODEL
    )
    budget: float | None = option(
        None,
        help="Time to spend, such as 30s, 10m or 2h; a larger one screens more images. [default: 8m; 1m with --quick]",
        read=parse_duration,
        write=duration_text,
        above=0,
        group=_MEASURING,
    )
    points: int = option(
        16,
        help="Most training images to look at closely, and held-out images.",
        least=2,
        most=10**6,
        group=_MEASURING,
    )
    times: tuple[float, ...] = option(
        (),
        help="Noise variances, such as 0.1,1; by default from where the empirical score condenses downward.",
        read=parse_times,
        write=times_text,
        above=0,
        group=_MEASURING,
    )
    probe: str | None = option(
        None,
        help="Also measure whole spectra at --points images, with every reading, by this method; antithetic is the paper's Alg. 2.",
        choices="geomem.spectra:PROBES",
        group=_MEASURING,
    )
    preset: str | None = option(
        None,
        help="With --probe: the paper's thresholds of Alg. 3 and noise level for mnist, cifar10 or celeba.",
        choices="geomem.spectra.dimension:PRESETS",
        group=_MEASURING,
    )
    directions: int | None = option(
        None,
        help="With --probe orthonormal: number of random directions. Default: all, or 512 beyond 4,096 dimensions (64 beyond 256 with --quick).",
        least=2,
        group=_MEASURING,
    )
    draws: int | None = option(
        None,
        help="Samples to draw and compare; 0 for none. [default: 128, or as many as the budget allows; 32 with --quick]",
        least=0,
        most=10**6,
        group=_MEASURING,
    )
    seed: int = option(0, help="Random seed.", least=0, group=_MEASURING)
    quick: bool = option(False, help="Rough results: fewer noise levels, samples and directions.", group=_MEASURING)
    device: str | None = option(
        None,
        help="Device of the model: cpu, cuda or cuda:1; by default a GPU if there is one.",
        recorded=False,
        group=_MODEL,
    )

    def check(self) -> None:
        """Refuse options that do not go together."""
        if self.draws == 1:
            raise InputError("--draws: 1 sample says nothing; draw a hundred or more, or none with 0.")
        if self.draws and self.samples is not None:
            raise InputError("--draws: samples were given with --samples; leave one of the two out.")
        if self.directions is not None and self.probe != "orthonormal":
            raise InputError("--directions: is for whole spectra along random directions; add --probe orthonormal.")
        if self.preset is not None and self.probe is None:
            raise InputError("--preset: is for whole spectra; add a --probe.")
        if self.trained_on is None:
            for given, named in ((self.probe, "--probe"), (self.samples, "--samples"), (self.draws, "--draws")):
                if given:
                    raise InputError(f"{named}: needs the training data; give them with --trained-on.")
        if self.device is not None and self.device.split(":")[0] not in ("cpu", "cuda"):
            raise InputError(f"--device: {self.device!r} cannot be used; spectra need float64: cpu, cuda or cuda:1.")
        if self.adapter is not None and self.base is not None:
            raise InputError("--adapter, --base: an adapter's base is MODEL itself; leave --base out.")
        if self.tuned:
            for given, named in ((self.probe, "--probe"), (self.trained_on is None, "--adapter, --base")):
                if given:
                    why = "is for models that are compared with held-out images, not with their base"
                    needs = "need the images that the model was fine-tuned on; give them with --trained-on"
                    raise InputError(f"{named}: {why if named == '--probe' else needs}.")
        if self.trained_on is None and self.held_out is None:
            raise InputError(
                "--trained-on, --held-out: give the data that the model was trained on, and held-out data."
            )
        if sum(given is not None for given in (self.label, self.prompt, self.captions)) > 1:
            raise InputError(
                "--label, --prompt, --captions: name one of them; each says what the model is conditioned on."
            )
        bound = ("scheduler", "config", "adapter", "label", "prompt", "captions")
        if not isinstance(self.model, str) and any(getattr(self, name) is not None for name in bound):
            raise InputError(
                f"{', '.join(bound)}: are for models that are opened from a folder; bind them in the score."
            )

    @property
    def tuned(self) -> bool:
        """Whether a fine-tuned model is compared with its base."""
        return self.adapter is not None or self.base is not None

    @property
    def seconds(self) -> float:
        """The time to spend."""
        return _BUDGET[self.quick] if self.budget is None else self.budget

    @property
    def drawn(self) -> int:
        """Most samples to draw; 0 where samples were given, or no training data."""
        if self.samples is not None or self.trained_on is None:
            return 0
        return _DRAWS[self.quick] if self.draws is None else self.draws

    def directions_of(self, dim: int) -> int | None:
        """Random directions in so many dimensions; None for all.

        Raises:
            InputError: For more than there are.
        """
        if self.directions is None:
            most, some = _DIRECTIONS[self.quick]
            return some if dim > most and self.probe == "orthonormal" else None
        if self.directions > dim:
            raise InputError(f"--directions: the model's images have {dim:,} dimensions, got {self.directions:,}.")
        return None if self.directions == dim else self.directions

    def recorded(self) -> dict[str, Any]:
        """The options that results depend on; a score given in Python by the name of its class."""
        held = super().recorded()
        return held if isinstance(self.model, str) else {**held, "model": _in_python(self.model)}

    def command_line(self, command: str, *, out: str = "") -> str:
        """The command that asks for the same; for a score given in Python, the request to write there."""
        if not str(self.model).startswith("<"):
            return super().command_line(command, out=out)
        chosen = {
            name: getattr(self, name)
            for name, (field, said) in options(AuditRequest).items()
            if said.recorded and getattr(self, name) != field.default
        }
        chosen["model"] = _Word(self.model)
        return f"geomem.run(AuditRequest({', '.join(f'{k}={v!r}' for k, v in chosen.items())}), out={out!r})"


class _Word(str):
    """Text that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _in_python(score: object) -> str:
    return f"<{type(score).__name__}>"
