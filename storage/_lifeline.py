"""A pipe from supervisor to workers that says nothing, and closes when the supervisor is gone.

However it went: the kernel closes the files of a process that was killed.
"""

from __future__ import annotations

import os
import signal
import threading
import time


__all__ = ["LIFELINE", "follow"]

LIFELINE = "STORAGE_LIFELINE"
"""Environment variable of a worker: its end of the pipe."""
GRACE_SECONDS = 10.0  # for ending the trial


def follow(*, grace: float = GRACE_SECONDS) -> None:
    """Ends this process when its supervisor is gone; nothing to do for one that has none.

    As SIGTERM does it, and after the grace period without asking.
    """
    end = os.environ.pop(LIFELINE, None)
    if end is not None:
        os.set_inheritable(int(end), False)
        threading.Thread(target=_follow, args=(int(end), grace), daemon=True).start()


def _follow(end: int, grace: float) -> None:
    os.read(end, 1)  # returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # a worker has a group of its own
