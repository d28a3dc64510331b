"""Figures and pictures of README.md and docs, made from results."""
