"""Other people's networks: timm's, a function of the user's, a module given from Python, a Keras model."""
