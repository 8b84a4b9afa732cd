"""Token mixers, one file a family. Importing this package registers them."""

from metaformer_nlp.core.mixers import (
    attention,
    conv,
    fourier,
    gating,
    identity,
    ponet,
    pooling,
    reduced_attention,
    shift,
    token_matrix,
    window_mlp,
)
from metaformer_nlp.core.mixers.base import MIXERS, TokenMixer, build_mixer, mixer_specs, register_mixer

__all__ = [
    "MIXERS",
    "TokenMixer",
    "attention",
    "build_mixer",
    "conv",
    "fourier",
    "gating",
    "identity",
    "mixer_specs",
    "ponet",
    "pooling",
    "reduced_attention",
    "register_mixer",
    "shift",
    "token_matrix",
    "window_mlp",
]
