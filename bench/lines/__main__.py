"""``python -m bench.lines``: see :mod:`bench.lines.study`."""

from bench.lines.study import main

if __name__ == "__main__":
    main()
