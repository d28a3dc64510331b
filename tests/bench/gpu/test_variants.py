"""The variants of bench.gpu.variants replace lines of the kernels, which must still be there."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="the kernels need triton")

from bench.gpu.variants import variants


@pytest.mark.parametrize("arch", [90, 100])
def test_every_variant_still_finds_the_lines_that_it_replaces(arch: int) -> None:
    for variant in variants(arch):
        assert variant.launch(arch).name == variant.kernel
