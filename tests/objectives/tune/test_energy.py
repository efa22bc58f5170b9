"""Energy: with the real codecarbon where it is installed; one meter per host, errors, sums."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import signal
import subprocess
import sys
from threading import Event
from threading import Thread
import time

from commands import experiment
from commands import load
from commands import ROOT
from commands import run
from commands import with_own_trainer
import optuna
import pytest

from objectives.tune.energy import host_meter
from objectives.tune.energy import kept_in_study
from objectives.tune.energy import kept_in_trial
from objectives.tune.energy import Meter


__all__ = ["experiment"]  # a fixture

pytest.importorskip("codecarbon", reason='pip install "codecarbon>=3.3" to test energy')


@pytest.fixture(scope="module")
def meter() -> Meter:
    return Meter([], "FRA")


class Steady:
    """A machine that uses 6 kWh in every span."""

    def start(self) -> None: ...

    def stop(self) -> dict[str, float]:
        return {"energy_kwh": 6.0, "co2eq_kg": 0.6}


def test_a_trial_keeps_what_was_used_in_it(meter: Meter) -> None:
    """And not what was used before. A busy machine may take longer, which counts for both."""
    study = optuna.create_study()
    seconds = []

    def objective(trial: optuna.Trial) -> float:
        start = time.monotonic()
        with kept_in_trial(trial, meter):
            time.sleep(0.05 if trial.number else 1.0)
        seconds.append(time.monotonic() - start)
        return 0.0

    study.optimize(objective, n_trials=2)
    long, short = (trial.user_attrs for trial in study.trials)
    assert min(long["energy_kwh"], long["co2eq_kg"]) > 0
    most = 5 * long["energy_kwh"] / 1.0  # per second: five times the power it had
    assert 0 < short["energy_kwh"] < most * seconds[1]


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], float]]:
    """A processor of a kilowatt-hour a second, as Linux shows it: what it has used, in kWh.

    Its counter begins anew after a second and a half: a busy machine may hold a thread up for one.
    """
    from codecarbon.core.cpu import IntelRAPL
    from codecarbon.core.hardware_cache import clear_cache

    clear_cache()  # of what the process has found, which is another machine's now and later
    kwh, most = 3.6e12, 1.5 * 3.6e12  # microjoules
    over, start = Event(), time.monotonic()
    folder = tmp_path / "powercap"
    domain = folder / "intel-rapl:0"
    domain.mkdir(parents=True)
    (domain / "name").write_text("package-0")
    (domain / "max_energy_range_uj").write_text(f"{most:.0f}")
    reading, energy = domain / "reading", domain / "energy_uj"

    def write() -> None:
        reading.write_text(f"{(time.monotonic() - start) * kwh % most:.0f}")
        reading.rename(energy)

    def run() -> None:
        while not over.wait(0.005):
            write()

    write()
    monkeypatch.setattr("codecarbon.core.cpu.is_rapl_available", lambda *_: True)
    there = "codecarbon.external.hardware.IntelRAPL"
    monkeypatch.setattr(there, lambda rapl_dir, **more: IntelRAPL(str(folder), **more))
    running = Thread(target=run)
    running.start()
    yield lambda: time.monotonic() - start
    over.set()
    running.join()
    clear_cache()


def test_a_counter_that_begins_anew_loses_nothing(
    counter: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("objectives.tune.energy.TASK_SECONDS", 0.1)
    meter = Meter([], None)
    meter.start()
    meter.stop()  # the first end of a task reads codecarbon's tables, and takes a while
    before = counter()
    meter.start()
    begun = counter()
    time.sleep(3.2)
    least = counter() - begun
    used = meter.stop()
    meter.close()
    assert 0.8 * least < used["energy_kwh"] < 1.2 * (counter() - before)


def test_a_trial_that_fails_has_used_it_too(meter: Meter) -> None:
    study = optuna.create_study()

    def objective(trial: optuna.Trial) -> float:
        with kept_in_trial(trial, meter):
            raise optuna.TrialPruned

    study.optimize(objective, n_trials=1)
    assert study.trials[0].user_attrs["energy_kwh"] >= 0


def test_a_study_adds_up_over_its_runs(meter: Meter) -> None:
    study = optuna.create_study()
    seen = []
    for pause in (0.5, 0.05):
        with kept_in_study(study, meter):
            time.sleep(pause)
        ((name, used),) = study.user_attrs.items()
        seen.append(used["energy_kwh"])
    assert name.startswith("energy ") and 0 < seen[0] < seen[1]


def test_spans_of_the_same_machine_are_added_once() -> None:
    study = optuna.create_study()
    for runs in (1, 2):
        with kept_in_study(study, Steady()):
            trial = study.ask()
            with kept_in_trial(trial, Steady()):
                pass
        ((_, whole),) = study.user_attrs.items()
        assert whole == {"energy_kwh": 6.0 * runs, "co2eq_kg": pytest.approx(0.6 * runs)}
        assert study.trials[-1].user_attrs == {"energy_kwh": 6.0, "co2eq_kg": 0.6}


def test_a_country_with_clean_electricity_emits_less() -> None:
    """codecarbon's own tables: Sweden's electricity against Poland's."""

    def intensity(country: str) -> float:
        meter = Meter([], country)
        meter.start()
        time.sleep(0.2)
        used = meter.stop()
        meter.close()
        assert used["energy_kwh"] and used["co2eq_kg"]
        return used["co2eq_kg"] / used["energy_kwh"]

    assert intensity("SWE") < 0.2 < 0.4 < intensity("POL") < 1.5


def test_a_host_has_one_meter_and_a_killed_holder_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import tempfile, sys, time; tempfile.tempdir = sys.argv[1]\n"
        "from objectives.tune.energy import host_meter\n"
        "with host_meter([], None) as meter: print(meter is not None, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        with host_meter([], None) as mine:
            assert mine is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with host_meter([], None) as mine:
        assert mine is not None


def test_it_says_nothing_of_itself() -> None:
    code = "from objectives.tune.energy import Meter; Meter([], None).close()"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_the_command_measures_when_asked(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    experiment.write_text(experiment.read_text() + 'energy = true\ncountry = "FRA"\n')
    ended = run(experiment, "--trials", "1", "--search-only")
    assert ended.returncode == 0, ended.stderr
    assert "codecarbon" not in ended.stdout + ended.stderr
    assert load(experiment).trials[0].user_attrs["energy_kwh"] > 0
    experiment.write_text(experiment.read_text().replace('"FRA"', '"GER"'))
    ended = run(experiment, "--trials", "2", "--search-only")
    assert ended.returncode == 2 and "'GER': codecarbon does not know it" in ended.stderr
    monkeypatch.setattr("objectives.tune.energy.find_spec", lambda name: None)
    ended = run(experiment, "--trials", "2", "--search-only")
    assert ended.returncode == 2 and 'pip install "codecarbon>=3.3"' in ended.stderr


def test_workers_are_measured_by_their_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of several share the machine: the study has a figure, and they have none."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the workers'
    experiment = with_own_trainer(tmp_path, study="energy = true")
    ended = run(experiment, "--trials", "1", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    study = load(experiment, "own")
    (whole,) = (used for name, used in study.user_attrs.items() if name.startswith("energy "))
    assert whole["energy_kwh"] > 0
    assert not [trial for trial in study.trials if "energy_kwh" in trial.user_attrs]
