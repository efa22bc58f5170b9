"""Without a network one message comes within seconds; a slow network is waited for."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
import os
from pathlib import Path
import shutil
import socket
import subprocess
import threading
import time

from commands import command
from commands import experiment
from commands import ROOT
import evaluate
from few_tasks import few_of_lm_eval
from huggingface_hub import constants
import pytest

from objectives.data import hub
from objectives.data.reading.rows import load_rows
from objectives.data.reading.rows import Rows
from objectives.errors import UserError
from objectives.model.base import load_tokenizer
from objectives.scoring.tasks import load_tasks
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.sources import SourceSettings


__all__ = ["experiment", "few_of_lm_eval"]  # fixtures

WAY_OUT = r"or run the command where there is a network, .* and set HF_HUB_OFFLINE=1"


class Nothing(BaseHTTPRequestHandler):
    """A hub that has nothing."""

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        time.sleep(self.server.seconds)  # type: ignore[attr-defined]
        with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
            self.send_error(404)

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(port: int = 0, seconds: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it has been asked for; it takes that long for each answer."""
    with ThreadingHTTPServer(("127.0.0.1", port), Nothing) as server:
        server.asked, server.seconds = [], seconds  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not asked the hub; whatever it finds out is forgotten afterwards."""
    for library, name in (
        (constants, "HF_HUB_OFFLINE"),
        (evaluate.config, "HF_EVALUATE_OFFLINE"),
    ):
        monkeypatch.setattr(library, name, False)
    hub._no_answer.cache_clear()
    yield monkeypatch
    hub._no_answer.cache_clear()


def rows_of(name: str) -> Rows:
    return load_rows(SourceSettings(name=name), DataSettings(train=name), split="train")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


@pytest.fixture
def no_hub(fresh: pytest.MonkeyPatch) -> str:
    """How a message tells of a hub that nobody runs."""
    address = f"http://127.0.0.1:{free_port()}"
    fresh.setattr(constants, "ENDPOINT", address)
    fresh.setattr(hub, "PATIENCE", 0.0)
    return rf"the hub cannot be reached \({address}: \[Errno \d+\] Connection refused\); "


def test_a_model_without_a_hub(no_hub: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=rf"'nobody/nothing': .*{no_hub}.*{WAY_OUT}"):
        load_tokenizer(ModelSettings(name="nobody/nothing"))
    assert "Retry" not in caplog.text


def test_data_without_a_hub(no_hub: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=rf"data set nobody/nothing, .*{no_hub}.*{WAY_OUT}"):
        rows_of("nobody/nothing")
    assert "Retry" not in caplog.text


@pytest.mark.usefixtures("few_of_lm_eval")
def test_a_task_without_a_hub(no_hub: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=rf"data set Rowan/hellaswag .*{no_hub}.*{WAY_OUT}"):
        load_tasks(ScoringSettings(), ["hellaswag"])
    assert "Retry" not in caplog.text


@pytest.mark.usefixtures("no_hub")
def test_what_is_in_the_cache_is_used(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, commit = tmp_path / "models--org--tiny", "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
    shutil.copytree(tiny_model_folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert len(load_tokenizer(ModelSettings(name="org/tiny"))) == 384


def test_a_network_that_comes_up_is_waited_for(fresh: pytest.MonkeyPatch) -> None:
    port = free_port()
    fresh.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    waiting = threading.Thread(target=hub.check)
    waiting.start()
    time.sleep(0.7)  # it has been refused once
    with serving(port) as (_, asked):
        waiting.join()
    assert asked == ["/"] and not constants.HF_HUB_OFFLINE


def test_a_hub_that_is_slow_is_there(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    with serving(seconds=0.5) as (address, asked):
        fresh.setattr(constants, "ENDPOINT", address)
        hub.check()
    assert asked == ["/"] and not constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked_and_its_answer_told(experiment: Path) -> None:
    """From end to end, by the variable with which the address of a mirror is given."""
    lines = experiment.read_text().splitlines()
    lines[2] = 'name = "nobody/nothing"'
    experiment.write_text("\n".join(lines))
    with serving() as (address, asked):
        ended = subprocess.run(
            command(experiment, "--output", experiment.parent / "runs"),
            cwd=ROOT,
            env={**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 2 and len(asked) > 1
    (told,) = ended.stderr.splitlines()
    assert "'nobody/nothing': cannot be loaded (" in told and "cannot be reached" not in told


def test_what_is_here_asks_nobody(
    fresh: pytest.MonkeyPatch, tiny_model_folder: Path, alpaca_file: Path, task_folder: Path
) -> None:
    with serving() as (address, asked):
        fresh.setattr(constants, "ENDPOINT", address)
        load_tokenizer(ModelSettings(name=str(tiny_model_folder)))
        rows_of(str(alpaca_file))
        load_tasks(ScoringSettings(tasks=str(task_folder)), ["colours", "all_colours"])
    assert asked == [] and not hub._no_answer.cache_info().currsize
