"""Makes transformers' Auto classes open the models of a family, here and where this package is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig

from metaformer_nlp.hub.configuration import MetaFormerConfig


def register_models(config_class: type[MetaFormerConfig], models: Mapping[Any, type]) -> None:
    """Register a configuration and, by Auto class, its ``models``; saved folders will name them too."""
    AutoConfig.register(config_class.model_type, config_class)
    for auto_class, model_class in models.items():
        auto_class.register(config_class, model_class)
    config_class.register_code({auto_class.__name__: model for auto_class, model in models.items()})
