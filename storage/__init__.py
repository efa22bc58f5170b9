"""The shared database of a study, and the workers on it; run from the checkout.

import storage
study = optuna.create_study(storage=storage.open("sqlite:///study.db"), ...)
"""

from storage import workers
from storage._away import broke_off
from storage._away import reason
from storage._devices import accelerators
from storage._devices import indices
from storage._open import exists
from storage._open import open
from storage._recover import mark_worker
from storage._recover import recover
from storage._turns import Turns
from storage._url import private
from storage._url import shown
from storage._url import StorageError


__all__ = [
    "StorageError",
    "Turns",
    "accelerators",
    "broke_off",
    "exists",
    "indices",
    "mark_worker",
    "open",
    "private",
    "reason",
    "recover",
    "shown",
    "workers",
]
