"""What a network is made of: its layers and stages, what each costs and how much of the image it sees."""

from foveal.models.anatomy.anatomy import Anatomy, Layer, Stage, inspect_network, layer_table

__all__ = ["Anatomy", "Layer", "Stage", "inspect_network", "layer_table"]
