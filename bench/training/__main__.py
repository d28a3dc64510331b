"""``python -m bench.training``: see :mod:`bench.training.step`."""

import sys

from bench.training.step import main

if __name__ == "__main__":
    sys.exit(main())
