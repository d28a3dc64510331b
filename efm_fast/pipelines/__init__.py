"""A pipeline and a scheduler of diffusers for every method whose samples follow a velocity."""

from .model import FieldModel, FieldModelOutput
from .pipeline import FieldMatchingPipeline
from .scheduler import FieldMatchingScheduler, FieldMatchingSchedulerOutput

__all__ = [
    "FieldMatchingPipeline",
    "FieldMatchingScheduler",
    "FieldMatchingSchedulerOutput",
    "FieldModel",
    "FieldModelOutput",
]
