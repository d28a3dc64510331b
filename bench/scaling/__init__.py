"""Sums and training on many processes: what a second process brings, and what hundreds would."""
