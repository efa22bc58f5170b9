"""First on PYTHONPATH, it makes every rank of every gang a faulty one, by the plan in FAULTS."""

import os
from pathlib import Path
import sys


if sys.orig_argv[1:3] == ["-m", "objectives.gang.rank"]:
    faulty = Path(__file__).parent.with_name("faulty_rank.py")
    os.execv(sys.executable, [sys.executable, faulty, os.environ["FAULTS"], sys.orig_argv[3]])
