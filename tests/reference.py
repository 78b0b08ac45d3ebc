"""Two reference models of scikit-learn's digits, trained by docs/train_digits.py: one memorizes, one generalizes."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

__all__ = ["FEW", "MANY", "digits", "trained"]

# Images of the memorizing model and of the generalizing one; the first 397 digits are held out.
FEW, MANY = 40, 1400


def _script():
    path = Path(__file__).parents[1] / "docs" / "train_digits.py"
    spec = importlib.util.spec_from_file_location("train_digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits() -> np.ndarray:
    """All digits as bytes (1797, 8, 8)."""
    return _script().digits()


def trained(images: np.ndarray, folder: Path, *, steps: int, seed: int) -> Path:
    """A pipeline trained on images, saved as diffusers saves it."""
    with torch.random.fork_rng(devices=[]):
        return _script().train(images, folder, steps=steps, seed=seed)
