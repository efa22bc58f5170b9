"""The shared database of a study, and the workers on it; run from the checkout.

import storage
study = optuna.create_study(storage=storage.open("sqlite:///study.db"), ...)
"""

from storage import workers
from storage._away import broke_off
from storage._away import reason
from storage._away import was_failed
from storage._devices import accelerators
from storage._devices import indices
from storage._open import exists
from storage._open import open
from storage._process import worker_name
from storage._recover import mark_stopped
from storage._recover import put_back
from storage._recover import recover
from storage._recover import take_up
from storage._turns import Turns
from storage._url import of_one_machine
from storage._url import private
from storage._url import shown
from storage._url import StorageError
from storage._worker import heard
from storage._worker import mark_worker
from storage._worker import Worker
from storage._worker import worker_of
from storage.engines.errors import EngineError


__all__ = [
    "EngineError",
    "StorageError",
    "Turns",
    "Worker",
    "accelerators",
    "broke_off",
    "exists",
    "heard",
    "indices",
    "mark_stopped",
    "mark_worker",
    "of_one_machine",
    "open",
    "private",
    "put_back",
    "reason",
    "recover",
    "shown",
    "take_up",
    "was_failed",
    "worker_name",
    "worker_of",
    "workers",
]
