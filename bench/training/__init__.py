"""The time of a training step and of a sampling step, part by part."""
