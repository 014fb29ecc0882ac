"""Training: the recipe, the optimiser, the schedule, the loop, and checkpoints that resume exactly."""
