"""Optuna's gRPC proxy: opened when it answers; touches no study."""

from __future__ import annotations

import importlib
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy
from sqlalchemy.engine import URL

from storage._url import StorageError
from storage._url import told


__all__ = ["open_grpc"]

ANSWER_SECONDS = 10.0
_NEEDED = ("grpc", "google.protobuf")


def open_grpc(url: URL) -> GrpcStorageProxy:
    """A proxy in front of a database, for machines that do not reach the database itself."""
    try:
        for module in _NEEDED:
            importlib.import_module(module)
    except ImportError as error:
        raise StorageError(
            f"`storage` = {told(url)}: the driver is missing ({error}); "
            'pip install "optuna-partition[grpc]".'
        ) from None
    if not url.host or not url.port:
        raise StorageError(
            f"`storage` = {told(url)}: a proxy needs host and port; for example "
            "grpc://node1:13000."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=url.host, port=url.port)
    try:
        proxy.wait_server_ready(timeout=ANSWER_SECONDS)
    except ConnectionError:
        proxy.close()
        raise StorageError(
            f"`storage` = {told(url)}: no proxy answers within {ANSWER_SECONDS:g} s; start it "
            "with optuna.storages.run_grpc_proxy_server (see storage/README.md), or check the "
            "port."
        ) from None
    return proxy
