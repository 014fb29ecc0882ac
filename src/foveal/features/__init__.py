"""Features: what a network sees at a cut, computed once an image and kept."""

from foveal.features.cache import GIB
from foveal.features.extract import Extractor, Features, Trunk, extract

__all__ = ["GIB", "Extractor", "Features", "Trunk", "extract"]
