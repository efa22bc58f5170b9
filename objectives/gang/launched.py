"""Starts a gang's ranks by a launcher, also on other machines; imports no torch.

    launch(["srun", "accelerate", "launch", "--config_file", "two_nodes.yaml"], 16)

The launcher gets `-m objectives.gang.rank HOST:PORT` as its last arguments. Every rank that it
starts connects to HOST:PORT, proves that it has the key in its environment, and says which one it
is. A rank whose connection ends, ends: so none outlives its gang, on whichever machine it is.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
from multiprocessing import AuthenticationError
from multiprocessing.connection import answer_challenge
from multiprocessing.connection import Connection
from multiprocessing.connection import deliver_challenge
import os
import secrets
import shlex
import socket
import struct
import subprocess

from objectives.errors import UserError
from objectives.gang.rank_process import environment
from objectives.gang.rank_process import kill_group
from objectives.gang.rank_process import Rank
from objectives.gang.wire import Hello
from objectives.gang.wire import KEY


__all__ = ["LaunchFailed", "launch"]

_SPEAKING_SECONDS = 10  # for each thing that a rank says when it has connected
_LOOK_SECONDS = 0.5  # between two looks whether the launcher is still there


class LaunchFailed(RuntimeError):
    """The launcher ended before its ranks were there."""


def launch(launcher: Sequence[str], count: int) -> list[Rank]:
    """The ranks, by number, as soon as all are connected; a queue may take its time.

    Args:
        launcher: A command that starts Python as `accelerate launch` and torchrun do.
        count: Ranks that there must be.

    Raises:
        UserError: There is no such program, or it starts more ranks or fewer.
        LaunchFailed: It ended too early.
    """
    key = secrets.token_bytes(32)
    with socket.create_server(("", 0), backlog=count) as server:
        server.settimeout(_LOOK_SECONDS)
        process = _started(launcher, f"{_host()}:{server.getsockname()[1]}", key)
        try:
            ranks = _connected(server, process, key, count)
        except BaseException:
            kill_group(process)
            raise
    return [ranks[number] for number in range(count)]


def _host() -> str:
    """A name of this machine that others know as well, if it has one."""
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError:
        return "127.0.0.1"
    return name


def _started(launcher: Sequence[str], address: str, key: bytes) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*launcher, "-m", "objectives.gang.rank", address],
            env={**os.environ, **environment(), KEY: key.hex()},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is for the gang alone
        )
    except OSError as error:
        raise UserError(
            f"--launcher '{shlex.join(launcher)}': cannot be started ({error.strerror}); "
            "give a command such as 'accelerate launch --config_file FILE'"
        ) from None


def _connected(
    server: socket.socket, process: subprocess.Popen[bytes], key: bytes, count: int
) -> dict[int, Rank]:
    ranks: dict[int, Rank] = {}
    while len(ranks) < count:
        if process.poll() is not None:
            raise LaunchFailed(
                f"the launcher ended with status {process.returncode} when {len(ranks)} of "
                f"{count} ranks were there"
            )
        with contextlib.suppress(TimeoutError):
            connection, _ = server.accept()
            greeted = _greeted(connection, key)
            if greeted is not None:
                pipe, hello = greeted
                _check_ranks(hello, count)
                ranks[hello.rank] = Rank(hello.rank, process, pipe, hello.machine)
    return ranks


def _greeted(connection: socket.socket, key: bytes) -> tuple[Connection, Hello] | None:
    """Both sides have the key, and the other says who it is; None for a stranger.

    Nobody who connects and says nothing is waited for: the port is open to all.
    """
    connection.setblocking(True)
    # a machine that loses its power closes no connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _wait_at_most(connection, _SPEAKING_SECONDS)
    pipe = Connection(os.dup(connection.fileno()))
    try:
        deliver_challenge(pipe, key)
        answer_challenge(pipe, key)
        hello: Hello = pipe.recv()
    except (AuthenticationError, EOFError, OSError):
        pipe.close()
        return None
    else:
        _wait_at_most(connection, 0)
        return pipe, hello
    finally:
        connection.close()


def _wait_at_most(connection: socket.socket, seconds: int) -> None:
    """For what the other side sends, also where it is read by a copy; 0: for ever."""
    limit = struct.pack("ll", seconds, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _check_ranks(hello: Hello, count: int) -> None:
    if hello.ranks != count:
        raise UserError(
            f"--gpus-per-trial {count}: the launcher starts {hello.ranks} "
            f"rank{'s' if hello.ranks > 1 else ''}; make them equal"
        )
