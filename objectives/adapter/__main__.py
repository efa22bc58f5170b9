"""`python -m objectives.adapter`."""

import sys

from objectives.adapter import main


if __name__ == "__main__":
    sys.exit(main())
