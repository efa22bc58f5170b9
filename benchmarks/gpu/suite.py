"""Part: the tests in tests/objectives/gpu, a line for each as soon as it has ended."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage


__all__ = ["run", "tests"]

TESTS = Path(__file__).parents[2] / "tests" / "objectives"


def run(stage: Stage) -> None:
    tests(stage, "gpu")


def tests(stage: Stage, which: str, *options: str) -> None:
    """Runs those in a file or folder of tests/objectives, by pytest's options."""
    try:
        import pytest
    except ImportError:
        raise Skipped("there is no pytest") from None

    class Lines:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or report.outcome != "passed":
                said = {} if report.passed else {"why": report.longreprtext[-800:]}
                stage.write(test=report.nodeid.rpartition("::")[2], outcome=report.outcome, **said)

    # what else warns on that machine is no failure
    given = [str(TESTS / which), "-q", "-p", "no:cacheprovider", "-W", "default", *options]
    status = pytest.main(given, plugins=[Lines()])
    if status != pytest.ExitCode.OK:
        raise AssertionError(f"pytest ended with {status!r}")
