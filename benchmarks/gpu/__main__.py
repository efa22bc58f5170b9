"""What only a GPU can show, in a run of minutes: `python -m benchmarks.gpu --out DIR`.

The parts, each a process of its own with a time limit, come in the order of their worth and append
what they find to DIR/gpu.jsonl at once; what they print goes to DIR/gpu.log. A part that fails
says so in its line and the next begins; one that does not fit in the time left is passed over. A
run that is cut off keeps what it has.

`--rehearse` plays all of it on a CPU with a tiny model: that shows that it can run, no more.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
import signal
import sys
import time

from benchmarks.gpu.parts import Part
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.process import play
from benchmarks.gpu.process import write


PATIENCE = 4  # times the limit in a rehearsal: a CPU may have other work


def main(given: Sequence[str] | None = None) -> int:
    """Runs the parts; 1 if one failed.

    Args:
        given: By default this process's arguments.
    """
    arguments = _arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no part stays behind
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines, end = arguments.out / "gpu.jsonl", time.monotonic() + 60 * arguments.minutes
    ended: Counter[str] = Counter()
    for part in arguments.parts:
        left = end - time.monotonic()
        if left < part.usual:
            reason = f"takes about {part.usual} s, and {left:.0f} s are left"
            write(lines, part=part.name, skipped=reason)
            _say(f"{part.name}: skipped, {reason}")
            ended["skipped"] += 1
            continue
        ended[_played(part, lines, left, rehearse=arguments.rehearse)] += 1
    _say(", ".join(f"{count} {how}" for how, count in ended.items()) + f": {lines}")
    return int(ended["failed"] > 0)


def _played(part: Part, lines: Path, left: float, *, rehearse: bool) -> str:
    """How it ended; says what it found."""
    limit = min(PATIENCE * part.limit if rehearse else part.limit, left)
    _say(f"{part.name}: {part.what}; {limit:.0f} s at most, {left:.0f} s are left")
    start = time.monotonic()
    before = len(lines.read_text()) if lines.exists() else 0
    how = play(part, lines, limit, rehearse=rehearse)
    print(lines.read_text()[before:], end="", flush=True)
    _say(f"{part.name}: {how} after {time.monotonic() - start:.0f} s")
    return how


def _say(text: str) -> None:
    print(f"gpu: {text}", flush=True)


def _parts(text: str) -> list[Part]:
    known = {part.name: part for part in PARTS}
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return [known[name] for name in names]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.jsonl and gpu.log")
    parser.add_argument("--minutes", type=float, default=9, help="for all parts; default 9")
    parser.add_argument("--parts", type=_parts, default=PARTS, help="names; default all")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with a tiny model")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
