"""Geometry of a capacitor: the discs that hold the charges, distances to charges, and the mirror of the far field."""
