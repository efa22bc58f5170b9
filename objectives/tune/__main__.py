"""`python -m objectives.tune`."""

import sys

from objectives.tune import main


if __name__ == "__main__":
    sys.exit(main())
