"""Tiny pipelines, each saved once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import pipelines


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a kind of pipeline."""
    pipelines.quiet()
    return cache(lambda kind: pipelines.saved(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session")
def diffusers_own(made: Callable[[str], Path]) -> Callable[[str], object]:
    """The same as diffusers opens it; nobody may change it."""
    return cache(lambda kind: pipelines.theirs(made(kind)))
