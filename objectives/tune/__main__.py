"""`python -m objectives.tune`."""

import sys

from objectives.interruption import end_at_once
from objectives.tune import main


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
