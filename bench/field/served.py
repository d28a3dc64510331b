"""``python bench/field/served.py ROOT``: times sums of the package below ROOT, for ``regimes.py``.

A script, not a module: it must not import the package beside it before the one it is to time. Each line of standard
input is a JSON list [D, N, M]; the answer is the least CPU time of some calls and the largest direction error.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

CALLS = 3


def serve(root: Path) -> None:
    """Answer sizes until the input ends."""
    sys.path[0] = str(root.resolve())
    import torch

    import efm_fast
    from efm_fast.field import capacitor_field
    from efm_fast.field.queries import query_set

    if not Path(efm_fast.__file__).is_relative_to(root.resolve()):
        raise SystemExit(f"served.py: expected a package below {root}, got {efm_fast.__file__}")
    torch.set_num_threads(1)
    last: Any = None
    for line in sys.stdin:
        size = d, n, m = json.loads(line)
        if last != size:
            last, points = size, query_set("interpolated", n, m, d)
            x, z, charges = points.x, points.z, (points.plus, points.minus, points.L)
            want = capacitor_field(x[:4].double(), z[:4], *charges, backend="reference")
            got = capacitor_field(x, z, *charges, backend="cpp").direction[:4]
            error = float((got.double() - want.direction).norm(dim=1).max())
        seconds = []
        for _ in range(CALLS):
            start = time.process_time()
            capacitor_field(x, z, *charges, backend="cpp")
            seconds.append(time.process_time() - start)
        print(json.dumps({"seconds": min(seconds), "error": error}), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
