"""After the search: the best adapter merged, pushed, asked and served; trains nothing.

python -m objectives.adapter merge runs/standin                # weights that need no peft
python -m objectives.adapter push runs/standin me/my-adapter --dry-run
python -m objectives.adapter chat runs/standin "What does json.dumps do?" --with-base
python -m objectives.adapter serve runs/standin                # the line for vLLM
"""

from __future__ import annotations

from collections.abc import Sequence


__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit status."""
    from objectives.adapter.command import run  # imports for seconds

    return run(arguments)
