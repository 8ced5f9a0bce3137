"""Finds the four patterns of shallow cloud organisation in satellite images."""

__version__ = "0.1.0"
