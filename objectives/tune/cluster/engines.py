"""The engine that `--on` names, for a plan; submits nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
import re

from sqlalchemy.engine import make_url

from objectives.errors import UserError
from objectives.settings.plan import Plan
import storage
from storage.engines.engine import Cluster
from storage.engines.ray import Ray
from storage.engines.slurm import Slurm


__all__ = ["engine_of", "notes"]

HERE = ("localhost", "127.0.0.1", "::1")


def engine_of(plan: Plan) -> Cluster:
    """Ready to start workers.

    Raises:
        UserError: Its workers would not reach the study.
        EngineError: It is not there, or cannot do what is asked for.
    """
    assert plan.engine is not None
    if storage.of_one_machine(plan.url):
        raise UserError(
            f"--on {plan.engine.name} with {storage.shown(plan.url)}: SQLite is for the processes "
            "of one machine; give a database that all machines reach, for example "
            "--storage postgresql+psycopg://user:password@host/name"
        )
    kind: type[Slurm | Ray] = {"slurm": Slurm, "ray": Ray}[plan.engine.name]
    name = job_name(plan.url, plan.name)
    return kind(name, plan.worker_argv, plan.folder / "workers", plan.engine.options)


def job_name(url: str, study: str) -> str:
    """The same for every call with this study, and for no other study."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "journal":  # whose path may begin at the working directory
        url = f"journal:///{Path(parsed.database or '').absolute()}"
    plain = re.sub(r"[^\w.-]", "_", study, flags=re.ASCII)
    both = "\n".join((url, study)).encode()
    return f"tune-{plain}-{hashlib.sha256(both).hexdigest()[:8]}"


def notes(plan: Plan) -> list[str]:
    """What may go wrong and cannot be seen from here."""
    host = make_url(plan.url).host
    if host not in HERE:
        return []
    return [
        f"note: {storage.shown(plan.url)} is this machine's own name for itself; workers on other "
        "machines do not reach it by that"
    ]
