"""Pictures of maps, lines, images and runs; matplotlib is imported when the first one is drawn."""

from .curves import plot_curves
from .distances import plot_distances
from .lines import animate_lines, plot_field_lines_3d
from .pictures import plot_image_grid, plot_image_pairs
from .points import plot_transport

__all__ = [
    "animate_lines",
    "plot_curves",
    "plot_distances",
    "plot_field_lines_3d",
    "plot_image_grid",
    "plot_image_pairs",
    "plot_transport",
]
