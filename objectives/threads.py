"""How torch's threads wait for each other; sets an environment variable."""

from __future__ import annotations

import os


__all__ = ["wait_gently"]


def wait_gently() -> None:
    """Lets them sleep soon, unless someone has said how; to be called before torch is loaded.

    By default they spin for milliseconds: with one busy neighbour on a machine of two processors
    a trial of 11 s took more than 7 min, and takes 20 s so. Ranks and workers read it as well.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
