"""Measurements of efm_fast, run from the root of a checkout: bench/README.md lists the commands."""
