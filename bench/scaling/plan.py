"""What a step would cost on 1 to 512 GPUs: bytes and operations counted, rates assumed; nothing here was measured.

Each of P GPUs has n points and M / P charges of D bytes. With F the rate of the sums and B that of the links, a step
takes

    operations of each GPU     4 n M D                       whatever P: the points grow with P (weak scaling)
    ring, bytes sent           (P - 1) M D / P               while it sums
    gather, bytes sent         (P - 1) n (4 D + 8 + 4 D + 24)  before and after
    time                       ring max(4 n M D / F, bytes / B), gather 4 n M D / F + bytes / B

and the share of the sums in that time is the efficiency. For strong scaling n is the number of all points over P.
"""

from __future__ import annotations

from typing import Any

from efm_fast.field.distributed.plan import bytes_sent

GPUS = (1, 8, 64, 512)
RATE = 200e12  # FLOP/s of a sum on one GPU: assumed, a fifth of the bfloat16 peak of an H200
INSIDE, OUTSIDE = 400e9, 40e9  # bytes/s of a GPU's links within a machine of 8, and between machines: assumed
MEMORY = 130e9  # bytes of a GPU for charges
POINTS = 128  # of each GPU


def row(gpus: int, d: int, charges: int, points: int) -> dict[str, Any]:
    """One row of the plan: which mode, its bytes, its time, and the share of it that sums."""
    facts = {"row": 24 + 4 * d, "point": 4 * d + 8, "charge": d}
    sent = {
        mode: max(each)
        for mode, each in bytes_sent([points] * gpus, [charges // gpus] * gpus, facts, "sharded").items()
    }
    link = INSIDE if gpus <= 8 else OUTSIDE
    summing = 4.0 * points * charges * d / RATE
    seconds = {"ring": max(summing, sent["ring"] / link), "gather": summing + sent["gather"] / link}
    mode = min(sent, key=lambda mode: sent[mode])
    fits = charges / gpus * d <= MEMORY
    return {
        "GPUs": gpus,
        "D": d,
        "charges": f"{charges:.0e}".replace("+0", ""),
        "points of each": points,
        "TFLOP of each": 4e-12 * points * charges * d,
        "mode": mode if fits else f"{mode}, streamed",
        "MB sent": sent[mode] / 1e6,
        "ring's MB": sent["ring"] / 1e6,
        "ms": 1e3 * seconds[mode],
        "efficiency": f"{summing / seconds[mode]:.0%}",
        "limit": "sums" if summing >= 0.5 * seconds[mode] else "links",
    }


def tables() -> dict[str, dict[str, Any]]:
    """Weak scaling with 128 points for each GPU, strong scaling with 4096 points for all."""
    found = {}
    for name, points in (("weak", lambda gpus: POINTS), ("strong", lambda gpus: max(1, 4096 // gpus))):
        rows = [
            row(gpus, d, charges, points(gpus))
            for d in (3072, 12288)
            for charges in (10**5, 10**7, 10**9)
            for gpus in GPUS
        ]
        found[name] = {"columns": list(rows[0]), "rows": [list(one.values()) for one in rows]}
    return found
