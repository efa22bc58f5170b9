"""Storages that give their connection back, and real processes that use them."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import subprocess
import sys

import optuna
from optuna.storages import GrpcStorageProxy
from optuna.storages import RDBStorage

import storage


ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A real process with the checkout on its path."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def opened(url: str, **settings: int) -> Iterator[optuna.storages.BaseStorage]:
    """A storage whose connection is given back."""
    backend = storage.open(url, **settings)
    try:
        yield backend
    finally:
        close(backend)


def close(backend: optuna.storages.BaseStorage) -> None:
    if isinstance(backend, RDBStorage):
        backend.engine.dispose()
    elif isinstance(backend, GrpcStorageProxy):
        backend.close()


def fill(disk: Path, leave: int) -> None:
    """Leaves so many bytes free on a file system."""
    (disk / "filled").write_bytes(bytes(shutil.disk_usage(disk).free - leave))
