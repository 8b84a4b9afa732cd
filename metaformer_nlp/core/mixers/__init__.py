"""Token mixers, one file a family. Importing this package registers them."""

from metaformer_nlp.core.mixers import attention, conv, fourier, identity, pooling, token_matrix
from metaformer_nlp.core.mixers.base import MIXERS, TokenMixer, build_mixer, mixer_specs, register_mixer

__all__ = [
    "MIXERS",
    "TokenMixer",
    "attention",
    "build_mixer",
    "conv",
    "fourier",
    "identity",
    "mixer_specs",
    "pooling",
    "register_mixer",
    "token_matrix",
]
