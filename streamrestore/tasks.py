"""What a network does to a picture, and how much of it is run."""

from typing import Literal

Task = Literal["derain", "deblur", "denoise"]

Stages = Literal[1, 2, 3]
"""How many of the network's stages are run: 1 is fastest, 3 best."""
