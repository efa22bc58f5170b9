"""Whether the hub can be reached. Where it cannot, its libraries are told, and use their caches.

huggingface_hub makes each request six times in 23 s and writes two lines about each, also where
there is no network at all. So one request is made before, for nothing. Where no connection comes
about in seconds, all goes on as with HF_HUB_OFFLINE=1. A connection, however slow and whatever the
answer, leaves the libraries their patience.
"""

from __future__ import annotations

from functools import cache
import time

import httpx2
from huggingface_hub import constants
from huggingface_hub import get_session
from huggingface_hub.errors import OfflineModeIsEnabled


__all__ = ["check", "missing"]

PATIENCE = 3.0  # seconds for a network that comes up; a refused connection takes none


def check() -> None:
    """Before something is had from the hub."""
    if constants.HF_HUB_OFFLINE or _no_answer() is not None:
        import evaluate  # slow, and what lm-eval scores with; knows its own variable only

        constants.HF_HUB_OFFLINE = True  # `datasets` finds no hub then, and may ask other servers
        evaluate.config.HF_EVALUATE_OFFLINE = True


def missing(what: str, instead: str) -> str | None:
    """The message for something that only the hub has; None where the hub can be asked.

    Args:
        what: Is not here, as the beginning of a sentence.
        instead: What to give in its place.
    """
    if not constants.HF_HUB_OFFLINE:
        return None
    elsewhere = (
        f"{instead}, or run the command where there is a network, copy its cache here "
        f"({constants.HF_HOME}) and set HF_HUB_OFFLINE=1"
    )
    if (reason := _no_answer()) is None:
        return f"{what}, and HF_HUB_OFFLINE is set; unset it, {elsewhere}"
    return f"{what}, and the hub cannot be reached ({constants.ENDPOINT}: {reason}); {elsewhere}"


@cache
def _no_answer() -> str | None:
    """Why none comes; None where one may, or where nobody may ask. Found out once."""
    start = time.monotonic()
    while True:
        try:
            limit = constants.HF_HUB_ETAG_TIMEOUT  # seconds, which users of slow networks raise
            get_session().head(constants.ENDPOINT, timeout=limit, follow_redirects=False)
            return None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            if time.monotonic() - start > PATIENCE:
                return str(error) or type(error).__name__
            time.sleep(0.5)
        except (httpx2.HTTPError, OfflineModeIsEnabled):  # connected, but slow; HF_HUB_OFFLINE
            return None
