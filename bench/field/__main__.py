"""``python -m bench.field``: see :mod:`bench.field.kernel`."""

import sys

from bench.field.kernel import main

if __name__ == "__main__":
    sys.exit(main())
