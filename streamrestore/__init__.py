"""Restore video with MPRNet: frames, colour, patches, the network, reading and writing."""

__version__ = "0.1.0"

__all__ = ["__version__"]
