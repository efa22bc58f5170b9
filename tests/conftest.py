"""Settings every test shares, and fixtures that several files need."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import uuid

from hypothesis import HealthCheck
from hypothesis import settings
import optuna
from plotting import MIXED
from plotting import mixed
from plotting import run
import pytest
import sqlalchemy as sa

from optuna_partition import SOOSampler


if not os.environ.get("OPTUNA_PARTITION_GPU"):  # see tests/objectives/gpu
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what the tests expect is a CPU's

SERVERS = {"postgres": "OPTUNA_PARTITION_POSTGRES", "mysql": "OPTUNA_PARTITION_MYSQL"}

pytest.register_assert_rewrite("optuna.testing.pytest_samplers")
slow = [HealthCheck.too_slow]  # no fault of a test: the machines are noisy
settings.register_profile("default", deadline=None, suppress_health_check=slow)
settings.load_profile("default")


LONGEST = (
    *("test_night", "test_tune_gang", "test_tune", "test_tune_workers", "test_gang"),
    *("test_stress", "test_launched", "test_checkpoint", "test_report", "test_branches"),
    *("test_on_slurm", "test_slurm", "test_ray", "test_several_nodes"),
    *("test_energy", "test_sharded", "test_packed", "test_score", "test_gp"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: whoever runs whole files side by side waits for no last one."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    """Optuna tells of every trial; the tests that read its log ask for it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
        return
    yield from database_on(SERVERS[request.param])


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a database on PostgreSQL without a table."""
    yield from database_on(SERVERS["postgres"])


def database_on(variable: str) -> Iterator[str]:
    """A new one on the server that an environment variable names."""
    if not os.environ.get(variable):
        pytest.skip(f"no server: set {variable} to a database URL")
    url, name = sa.make_url(os.environ[variable]), f"tests_{uuid.uuid4().hex[:8]}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield url.set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


@pytest.fixture(scope="session")
def mixed_study() -> optuna.Study:
    """Parameters of every kind, trials of every kind, one of them running; only to be read."""
    study = run(mixed, 120, SOOSampler(search_space=dict(MIXED)), direction="maximize")
    study.ask(dict(MIXED))
    return study
