"""The shared database of a study: opened ready for many workers; run from the checkout.

import storage
study = optuna.create_study(storage=storage.open("sqlite:///study.db"), ...)
"""

from storage._open import exists
from storage._open import open
from storage._open import StorageError
from storage._recover import mark_worker
from storage._recover import recover


__all__ = ["StorageError", "exists", "mark_worker", "open", "recover"]
