"""The ground that images and text share: one block, its mixers, norms and costs. Imports torch only."""

from metaformer_nlp.core.block import MetaFormerBlock
from metaformer_nlp.core.channel_mlp import ACTIVATIONS, ChannelMLP, build_activation
from metaformer_nlp.core.mixers import MIXERS, TokenMixer, build_mixer, mixer_specs, register_mixer
from metaformer_nlp.core.norms import NORMS, Norm, build_norm
from metaformer_nlp.core.registry import Registry
from metaformer_nlp.core.residual import DropPath, Residual, drop_path_rates

__all__ = [
    "ACTIVATIONS",
    "MIXERS",
    "NORMS",
    "ChannelMLP",
    "DropPath",
    "MetaFormerBlock",
    "Norm",
    "Registry",
    "Residual",
    "TokenMixer",
    "build_activation",
    "build_mixer",
    "build_norm",
    "drop_path_rates",
    "mixer_specs",
    "register_mixer",
]
