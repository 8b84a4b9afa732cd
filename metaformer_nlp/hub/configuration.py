"""What the configurations of both model families have in common: they are checked when they are made."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Self

import transformers
from transformers import PreTrainedConfig
from transformers.generation import GenerationConfig

from metaformer_nlp.core.registry import nearest
from metaformer_nlp.hub.remote_code import CarriesCode

logger = logging.getLogger(__name__)

# No fields of a configuration class, but written into `config.json` or passed along by transformers itself.
LIBRARY_KEYS = frozenset(
    {
        *GenerationConfig._get_default_generation_params(),
        "add_cross_attention",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "cls_token_id",
        "custom_pipelines",
        "decoder_start_token_id",
        "eos_token_id",
        "experts_implementation",
        "finetuning_task",
        "is_causal",
        "is_decoder",
        "mask_token_id",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "pad_token_id",
        "per_layer_config",
        "prefix",
        "quantization_config",
        "sep_token_id",
        "stage_names",
        "task_specific_params",
        "tie_encoder_decoder",
        "tie_last_hidden_states",
        "tie_word_embeddings",
        "tokenizer_class",
        "torch_dtype",
        "unk_token_id",
    }
)


class CheckedConfig(PreTrainedConfig):
    """A configuration that refuses what transformers would keep without a word: a misspelt key trains another model.

    An unknown key is an error that names the nearest known one. In a saved `config.json` it is one only where it is
    close to a known key; another one may come from a later transformers, and is kept with a warning.

    Raises:
        ValueError: For an unknown key, and for values that `check` refuses.
    """

    def __post_init__(self, **kwargs: Any) -> None:
        for key in self._unknown(kwargs):
            known = self._known()
            raise ValueError(
                f"unknown key {key!r} in {type(self).__name__}.{nearest(key, known, cutoff=0.4)} "
                f"Known keys: {', '.join(known)}"
            )
        self.check()
        super().__post_init__(**kwargs)

    def check(self) -> None:
        """Raise ValueError for values that fit no model."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """The configuration that a `config.json` holds; transformers opens saved folders by this method."""
        unknown = cls._unknown(config_dict)
        foreign = [key for key in unknown if not nearest(key, cls._known(), cutoff=0.75)]
        if foreign:
            logger.warning(
                "%s does not know %s in a file that transformers %s wrote (this is %s): kept, but without effect",
                cls.__name__,
                ", ".join(map(repr, foreign)),
                config_dict.get("transformers_version"),
                transformers.__version__,
            )
        for key in cls._unknown(kwargs):
            if known := nearest(key, cls._known(), cutoff=0.75):  # others are for whoever opens the model
                raise ValueError(f"unknown key {key!r} for {cls.__name__}.{known}")
        made = super().from_dict({key: config_dict[key] for key in config_dict if key not in foreign}, **kwargs)
        config = made[0] if isinstance(made, tuple) else made  # with return_unused_kwargs it is a pair
        if kwargs:
            config.check()  # what is given here was set after the first check
        for key in foreign:
            setattr(config, key, config_dict[key])
        return made

    @classmethod
    def _known(cls) -> list[str]:
        """The keys that a person may set, sorted."""
        return sorted({"num_labels", *(field.name.lstrip("_") for field in fields(cls))})

    @classmethod
    def _unknown(cls, keys: Iterable[str]) -> list[str]:
        """Those of ``keys`` that neither the class nor transformers knows. Names with a leading _ are transformers'."""
        known = LIBRARY_KEYS.union(cls._known())
        return [key for key in keys if not key.startswith("_") and key not in known]


class MetaFormerConfig(CarriesCode, CheckedConfig):
    """A checked configuration that saves the code of its models beside itself."""
