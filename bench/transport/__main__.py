"""``python -m bench.transport``: see :mod:`bench.transport.run`."""

from bench.transport.run import main

if __name__ == "__main__":
    main()
