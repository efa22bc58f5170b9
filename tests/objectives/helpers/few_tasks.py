"""lm-eval's registry with a few of its tasks: the whole takes seconds."""

from __future__ import annotations

from pathlib import Path

import lm_eval.tasks
import pytest


@pytest.fixture
def few_of_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tasks that lm-eval brings, HellaSwag alone: reading all 14,000 takes 12 s."""
    folder = Path(lm_eval.tasks.__file__).parent / "hellaswag"
    assert (folder / "hellaswag.yaml").is_file()
    # lm-eval looks for its tasks beside this file
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(folder / "manager.py"))
