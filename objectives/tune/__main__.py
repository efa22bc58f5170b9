"""`python -m objectives.tune`."""

import sys

from objectives.tune import main
from objectives.tune.interruption import end_at_once


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
