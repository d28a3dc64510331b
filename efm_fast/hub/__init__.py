"""Runs as folders that the Hugging Face hub knows: settings, weights and a model card."""

from .pretrained import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
