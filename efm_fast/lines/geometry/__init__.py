"""Where the charges are: the discs that hold them, the distances to them, the mirror of the far field."""
