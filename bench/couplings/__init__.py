"""Couplings of whole sets: their cost and exactness beside POT and GeomLoss, and what each kind keeps."""
