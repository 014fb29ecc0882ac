"""Images in: sources, the dataset they give, its splits, and the pixels that training reads."""
