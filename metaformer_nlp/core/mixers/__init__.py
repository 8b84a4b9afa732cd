"""Token mixers, each in the file of its name. Importing this package registers them."""

from metaformer_nlp.core.mixers import (  # noqa: F401
    attention,
    decaying_sum,
    depthwise_conv,
    fourier,
    identity,
    ponet,
    pooling,
    random,
    separable_conv,
    shift,
    spatial_gating,
    spatial_mlp,
    spatial_reduction_attention,
    window_mlp,
)
from metaformer_nlp.core.mixers.base import MIXERS, TokenMixer, register_mixer
from metaformer_nlp.core.mixers.spec import build_mixer, mixer_specs

__all__ = ["MIXERS", "TokenMixer", "build_mixer", "mixer_specs", "register_mixer"]
