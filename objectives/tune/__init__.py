"""The command line: the one place where sampler, objective and storage meet.

    python -m objectives.tune examples/standin.toml                        # minutes, no GPU
    python -m objectives.tune examples/llama_1b_alpaca.toml --storage sqlite:///llama.db \\
        --study llama --sampler bamsoo --trials 50 --workers 8

Run it again to continue a study: trials of earlier runs count, an interrupted one is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from objectives.starting import importing


__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit status."""
    with importing():  # for seconds: __main__ is ready for Ctrl-C
        from objectives.tune.command import run
    return run(arguments)
