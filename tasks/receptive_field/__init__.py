"""How far a token's influence reaches: the effective receptive field of one token after every layer of a model."""
