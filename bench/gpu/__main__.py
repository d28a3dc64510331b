"""``python -m bench.gpu``: see :mod:`bench.gpu.suite`."""

import sys

from bench.gpu.suite import main

if __name__ == "__main__":
    sys.exit(main())
