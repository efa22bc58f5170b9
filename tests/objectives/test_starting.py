"""What the command does to its process before torch is there, and while it is imported."""

from __future__ import annotations

import gc
import os
from pathlib import Path
import subprocess
import sys

import pytest

from objectives.starting import importing


ROOT = Path(__file__).parents[2]


def after(code: str, **more: str) -> list[str]:
    """What a new process prints."""
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | more
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@pytest.mark.parametrize(("given", "kept"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_the_command_decides_how_torch_s_threads_wait_before_it_is_loaded(
    given: dict[str, str], kept: str
) -> None:
    code = (
        "import os, sys; from objectives.tune import main; status = main(['/no/such.toml']); "
        "assert 'torch' not in sys.modules; print(status, os.environ['GOMP_SPINCOUNT'])"
    )
    assert after(code, **given) == ["2", kept]


def test_garbage_is_searched_for_again_when_all_is_imported() -> None:
    """Also by who has begun with the package; a training that leaves garbage would fill memory."""
    code = (
        "import gc, objectives; from objectives.tune import main; main(['/no/such.toml']); "
        "objectives.train_once; print(gc.isenabled())"
    )
    assert after(code) == ["True"]


def test_it_leaves_the_search_for_garbage_as_it_was() -> None:
    with importing(), importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), importing():
        raise ImportError("of something")
    assert gc.isenabled()
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled(), "the user's choice"
    finally:
        gc.enable()
