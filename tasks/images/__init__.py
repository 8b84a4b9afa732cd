"""Image classification and masked image modelling."""
