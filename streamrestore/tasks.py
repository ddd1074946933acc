"""What a network does to a picture."""

from typing import Literal

Task = Literal["derain", "deblur", "denoise"]
