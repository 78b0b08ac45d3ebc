"""How image networks are trained: the options that `geomem train` and `geomem sweep` share."""

from dataclasses import dataclass

from geomem.jobs.request import Request, option

__all__ = ["TrainingOptions"]

_GROUP = "How networks are trained"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Request):
    """A preset, and what is to differ from it."""

    preset: str = option(
        help="Network and training settings: mnist, cifar10, celeba (the paper's U-Nets, Table 1); small-unet, mlp (small, for a CPU).",
        choices="geomem.training.presets:PRESETS",
    )
    noise_process: str = option(
        "vp",
        help="Noise process: vp (DDPM) or ve (variance-exploding, continuous).",
        choices=("vp", "ve"),
        group=_GROUP,
    )
    steps: int | None = option(
        None, help="Number of optimizer steps; the preset's by default.", least=1, most=10**9, group=_GROUP
    )
    batch_size: int | None = option(
        None, help="Batch size; the preset's by default.", least=1, most=10**6, group=_GROUP
    )
    learning_rate: float | None = option(
        None, help="Adam's learning rate; the preset's by default.", above=0, group=_GROUP
    )
    ema_decay: float | None = option(None, help="EMA decay; the preset's by default.", least=0, below=1, group=_GROUP)
    precision: str = option(
        "auto",
        help="float32, bf16 (matmuls only), or auto: bf16 where the hardware supports it.",
        choices=("auto", "float32", "bf16"),
        group=_GROUP,
    )
