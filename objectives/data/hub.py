"""Whether the hub can be reached. Where it cannot, its libraries are told, and use their caches.

huggingface_hub makes each request six times in 23 s and writes two lines about each, also where
there is no network at all. So one request is made before, for nothing. Where no connection comes
about in seconds, all goes on as with HF_HUB_OFFLINE=1. A connection, however slow and whatever the
answer, leaves the libraries their patience.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
import sys
import time
from typing import Any

from huggingface_hub import constants
from huggingface_hub import get_session
from huggingface_hub.errors import OfflineModeIsEnabled


__all__ = ["check", "missing"]

PATIENCE = 3.0  # seconds for a network that comes up; a refused connection takes none


def check() -> None:
    """Before something is had from the hub."""
    if constants.HF_HUB_OFFLINE or _no_answer() is not None:
        constants.HF_HUB_OFFLINE = True  # `datasets` finds no hub then, and may ask other servers
        if (
            find_spec("evaluate") is not None
        ):  # lm-eval scores with it; knows its own variable only
            import evaluate  # slow

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
    start, http = time.monotonic(), _client_library()
    while True:
        try:
            limit = constants.HF_HUB_ETAG_TIMEOUT  # seconds, which users of slow networks raise
            get_session().head(constants.ENDPOINT, timeout=limit, follow_redirects=False)
            return None
        except (http.ConnectError, http.ConnectTimeout, http.ProxyError) as error:
            if time.monotonic() - start > PATIENCE:
                return str(error) or type(error).__name__
            time.sleep(0.5)
        except (http.HTTPError, OfflineModeIsEnabled):  # connected, but slow; HF_HUB_OFFLINE
            return None


def _client_library() -> Any:
    """httpx2 behind huggingface_hub 2, httpx behind 1: alike, but for the name."""
    return sys.modules[type(get_session()).__module__.partition(".")[0]]
