"""Weights of a network: safetensors files alone, checked against their map and against the network before any memory is taken.

diffusers' own loader is not used, since it opens whatever a weight map names, pickles among them.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from geomem.errors import InputError, reason_of
from geomem.files import is_file, names, opened, printable, read_json
from geomem.limits import LARGEST_HEADER
from geomem.memory import check_memory

__all__ = [
    "PICKLES",
    "SUFFIX",
    "Renamed",
    "Weights",
    "built",
    "few_layers",
    "find_weights",
    "pickled",
    "read_tensors",
    "silent",
]

PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_STEM, SUFFIX = "diffusion_pytorch_model", ".safetensors"
_SHARD = re.compile(r"-\d+-of-\d+")
# Names of attention layers before diffusers 0.11, and since.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTION = re.compile(rf"(.*\.)({'|'.join(_FORMER)})(\.weight|\.bias)")


@dataclass(frozen=True)
class Weights:
    """Where the tensors of a network are.

    Attributes:
        folder: The network's folder.
        files: Tensors by their names: the file that holds each, and its shape.
    """

    folder: Path
    files: Mapping[str, tuple[Path, tuple[int, ...]]]

    @property
    def variant(self) -> str | None:
        """The variant that the files are, as "fp16"; None for full precision."""
        return next((_variant(path.name) for path, _ in self.files.values()), "") or None

    def copy_into(self, network: nn.Module) -> None:
        """Copy each tensor into the network's of the same name; none stays mapped to its file."""
        known = network.state_dict()
        for path in sorted({path for path, _ in self.files.values()}):
            with safe_open(path, framework="pt") as stored:
                for name, (place, _) in self.files.items():
                    if place == path:
                        known[_present(name, known)].copy_(stored.get_tensor(name))


@dataclass(frozen=True)
class Renamed(Weights):
    """Tensors that were read already, under other names than their file's.

    Attributes:
        tensors: The tensors, by the network's names.
    """

    tensors: Mapping[str, Tensor]

    def copy_into(self, network: nn.Module) -> None:
        """As `Weights`."""
        known = network.state_dict()
        for name, tensor in self.tensors.items():
            known[_present(name, known)].copy_(tensor)


def find_weights(network: Path, stem: str = _STEM) -> Weights:
    """Find the weights in a network's folder, and read the names and shapes of its tensors.

    Full-precision files come before variants, such as fp16.

    Args:
        network: The folder.
        stem: How names of its files begin: diffusers' own, or "model" for transformers'.

    Raises:
        InputError: If there are none, or only pickles; for a damaged file; for a weight map that names anything but safetensors
            files of this folder.
    """
    held = names(network)
    maps = {name: _map(network, name) for name in held if re.search(r"\.index(\.[\w-]+)?\.json$", name)}
    files = [name for name in held if re.match(rf"{stem}[.-]", name) and name.endswith(SUFFIX)]
    if not files:
        pickles = [name for name in held if Path(name).suffix.lower() in PICKLES]
        if pickles:
            raise pickled(network, pickles[0])
        raise InputError(f"{printable(network)}: has no weights (no {stem}{SUFFIX}); save the model again.")
    variant = min(_variant(name) for name in files)  # "" comes first
    chosen = [name for name in files if _variant(name) == variant]
    whole = [name for name in chosen if not _SHARD.search(name)]
    mapped = next((sorted(found) for found in maps.values() if {_variant(name) for name in found} == {variant}), whole)
    if not mapped:
        raise InputError(
            f"{printable(network)}: its weights are in {len(chosen)} files, but the map of them "
            f"({stem}{SUFFIX}.index.json) is missing; copy or download it as well."
        )
    return Weights(network, _headers([network / name for name in mapped]))


def _variant(name: str) -> str:
    """The variant in a file's name, as "fp16"; "" for none."""
    return _SHARD.sub("", name.removesuffix(SUFFIX)).partition(".")[2]


def _map(network: Path, name: str) -> set[str]:
    """The files that a weight map names.

    Raises:
        InputError: If one is no safetensors file of the network's folder.
    """
    where = printable(network / name)
    named = read_json(network / name).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(file, str) for file in named.values()):
        raise InputError(f"{where}: has no weight_map from tensors to files; save the model again.")
    for file in sorted(set(named.values())):
        if file != Path(file).name or "\\" in file or "\0" in file:
            raise InputError(f"{where}: names {printable(file)!r}, which is no file of its folder, and is refused.")
        if not file.endswith(SUFFIX):
            raise InputError(
                f"{where}: names {printable(file)!r}, which is not safetensors and could run code when it is opened; it is refused."
            )
        path = network / file
        if not is_file(path):
            raise InputError(f"{where}: names {printable(file)!r}, which is missing; copy or download it again.")
        if not _within(path, network):
            raise InputError(
                f"{where}: names {printable(file)!r}, a link to a file outside of its folder, and is refused."
            )
    return set(named.values())


def _within(path: Path, network: Path) -> bool:
    """Whether a file lies in the network's folder, or where the hub's cache keeps the files of the same model.

    The cache keeps models--owner--name/snapshots/<revision>/unet/<file> as a link to models--owner--name/blobs/<digest>.
    """
    target, folder = path.resolve(), network.resolve()
    places = [folder, *(above.parent / "blobs" for above in folder.parents if above.name == "snapshots")]
    return target.parent in places


def read_tensors(path: Path, *, most: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, at most so many, and its metadata.

    Raises:
        InputError: If it is damaged, is no such file, or holds more tensors or bytes than can be had.
    """
    held = _headers([path])
    if len(held) > most:
        raise InputError(f"{printable(path)}: holds {len(held):,} tensors; at most {most:,} are read.")
    check_memory(path.stat().st_size, printable(path), "use a computer with more memory")
    with safe_open(path, framework="pt") as stored:
        # Copies: a file that is mapped and then cut short would end the process.
        return {name: stored.get_tensor(name).clone() for name in stored.keys()}, dict(stored.metadata() or {})  # noqa: SIM118 - no mapping


def _headers(paths: list[Path]) -> dict[str, tuple[Path, tuple[int, ...]]]:
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in paths:
        with opened(path) as stream:  # a regular file, which safetensors does not check
            length = int.from_bytes(stream.read(8), "little")
            if LARGEST_HEADER < length <= path.stat().st_size:
                raise InputError(
                    f"{printable(path)}: has a header of {length:,} bytes, more than the {LARGEST_HEADER:,} that are read; save the model "
                    "again."
                )
        try:
            with safe_open(path, framework="pt") as stored:
                shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{printable(path)}: is damaged or cut short ({reason_of(error)}); copy or download it again."
            ) from error
        twice = sorted(set(shapes) & set(found))
        if twice:
            raise InputError(
                f"{printable(path)}: holds {printable(twice[0])!r}, as another file does; save the model again."
            )
        found |= {name: (path, shape) for name, shape in shapes.items()}
    return found


def built(
    kind: type[Any], config: Mapping[str, Any], weights: Weights, dtype: torch.dtype, check: Callable[[Any], None]
) -> Any:
    """The network of a configuration, with its weights.

    It is first built without memory, and its tensors are compared with the stored ones, so that no more is allocated than files hold.

    Args:
        kind: The network's class.
        config: Content of its config.json.
        weights: Its weights.
        dtype: Dtype in which it is computed.
        check: Called with the network without memory; raises what speaks against it.

    Raises:
        InputError: If it cannot be built, or weights and configuration do not belong together.
    """
    where = printable(weights.folder)
    with torch.device("meta"):
        plan = _of_config(kind, config, where, len(weights.files))
    wanted = {name: tuple(tensor.shape) for name, tensor in plan.state_dict().items()}
    held = {_present(name, wanted): shape for name, (_, shape) in weights.files.items()}
    for what, some in (
        ("lack {} of the network's tensors", set(wanted) - set(held)),
        ("hold {} tensors that the network lacks", set(held) - set(wanted)),
        ("hold {} tensors of another shape", {name for name in wanted if wanted[name] != held.get(name)}),
    ):
        if some:
            raise InputError(
                f"{where}: its weights {what.format(len(some))} ({printable(min(some))}, ...); weights and config.json do not "
                "belong together."
            )
    check(plan)
    size = dtype.itemsize * sum(math.prod(shape) for shape in wanted.values())
    check_memory(size, where, "use a computer with more memory")
    whole = _is_whole(plan)
    network = plan if whole else _of_config(kind, config, where, len(weights.files))
    with silent():  # diffusers warns of layers in float32 where there are none
        network = network.to(dtype)
    if whole:
        network = network.to_empty(device="cpu")
    try:
        weights.copy_into(network)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{where}: its weights changed while they were read ({reason_of(error)}).") from error
    return network


def _is_whole(plan: nn.Module) -> bool:
    """Whether all tensors of a network come with its weights, so that none has to be computed."""
    named = {name for name, _ in (*plan.named_parameters(), *plan.named_buffers())}
    plain = any(isinstance(held, Tensor) for module in plan.modules() for held in vars(module).values())
    return named <= set(plan.state_dict()) and not plain


def _of_config(kind: type[Any], config: Mapping[str, Any], where: str, most: int) -> Any:
    """A network with random weights, of not many more parameters than `most`.

    Raises:
        InputError: If the configuration makes none.
    """
    try:
        with silent(), few_layers(most):
            return kind.from_config(dict(config))
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{where}: cannot be opened as a {kind.__name__} ({reason_of(error, lines=2)}); weights and config.json may not belong "
            "together."
        ) from error


@contextmanager
def few_layers(most: int) -> Iterator[None]:
    """Raise a `ValueError` once a network is built that has many more parameters than `most`."""
    count = 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += 1
        if count > 2 * most + 100:  # some are replaced while a network is built
            raise ValueError("it has more layers than its weights")

    hook = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def silent() -> Iterator[None]:
    """No warnings of diffusers; what matters is checked."""
    from diffusers.utils import logging

    said = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(said)


def _present(name: str, known: Mapping[str, Any]) -> str:
    """The network's name of a tensor, which older files hold under a former one."""
    former = _ATTENTION.fullmatch(name)
    if name in known or former is None:
        return name
    return f"{former[1]}{_FORMER[former[2]]}{former[3]}"


def pickled(folder: Path, name: str) -> InputError:
    """The error for weights that are a pickle by their name."""
    where = str(folder)
    code = f"from diffusers import UNet2DModel as U; U.from_pretrained({where!r}, use_safetensors=False).save_pretrained({where!r})"
    return InputError(
        f"{printable(folder / name)}: is a pickle by its name, which can run code when it is opened and is refused; safetensors are "
        f"needed. If you trust its origin, convert it once: python -c {shlex.quote(printable(code))}"
    )
