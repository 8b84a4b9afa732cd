"""The text encoder as an option group: a fresh one from its fields, or one from a saved folder."""

import copy
import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from metaformer_nlp.errors import reading
from tasks.content import content_hash
from tasks.text.checkpoints import check_same_tokenizer, load_text_config

# Annotations are not postponed here: where they are, jsonargparse runs the imports under TYPE_CHECKING to read them.
if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["TextModelConfig", "encoder_macs"]

logger = logging.getLogger(__name__)

_FRESH = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "token_mixer": "pooling",
    "pool_size": 3,
    "position_embedding": True,
    "norm": "layer_norm",
    "hidden_act": "gelu",
    "use_residual": True,
    "use_channel_mlp": True,
    "layer_scale_init_value": None,
    "res_scale_init_value": None,
    "drop_path_rate": 0.0,
    "hidden_dropout_prob": 0.1,
    "mlp_dropout": 0.0,
    "initializer_range": 0.02,
}
# These may differ from those of a checkpoint: they hold no weights.
_MODEL = "the folder of a saved model"
_FREE = frozenset({"drop_path_rate", "hidden_dropout_prob", "mlp_dropout", "initializer_range"})


@dataclass(frozen=True)
class TextModelConfig:
    """The encoder. An option left at null has the value named here, or the checkpoint's."""

    checkpoint: str | None = None
    """Folder of a saved model, such as runs/pretrain/model; its encoder is taken over, and its classifier if that is of
    the same task. null: fresh weights."""
    token_mixer: str | dict[str, Any] | list[Any] | None = None
    """What mixes the tokens: a name (pooling, identity, random, attention, spatial_mlp, spatial_gating,
    depthwise_conv, separable_conv, shift, decaying_sum,
    fourier, ponet), {name: pooling, pool_size: 7}, or a list of these, one
    for each layer or in short: [pooling x rest, attention x 2]. docs/token_mixers.md has a table. null: pooling."""
    pool_size: int | list[Any] | None = None
    """Window of pooling: odd, or a list of windows for groups of channels: odd, global, left:n, right:n. null: 3."""
    hidden_size: int | None = None
    """Channels of a token. null: 256."""
    num_hidden_layers: int | None = None
    """Blocks. null: 4."""
    num_attention_heads: int | None = None
    """Heads of attention layers. null: one for every 32 channels."""
    intermediate_size: int | None = None
    """Hidden width of the channel MLP. null: 4 x hidden_size."""
    exclude_mask_token: bool | None = None
    """true: [MASK] receives from the other tokens but gives them nothing; for pooling, attention, depthwise_conv,
    separable_conv, shift, ponet and identity. null: false, or the checkpoint's."""
    position_embedding: bool | None = None
    """false: no learned vector for its place is added to a token; the mixers alone tell order. null: true."""
    norm: str | None = None
    """layer_norm (one token at a time), group_norm, batch_norm, rms_norm or none. null: layer_norm."""
    hidden_act: str | None = None
    """Activation of the channel MLP: gelu, relu, silu, star_relu, squared_relu. null: gelu."""
    use_residual: bool | None = None
    """false: blocks without their shortcuts (an ablation). null: true."""
    use_channel_mlp: bool | None = None
    """false: blocks without their channel MLP (an ablation). null: true."""
    layer_scale_init_value: float | Literal["none"] | None = None
    """Start of a learned scale on each branch; none: no such scale. null: none."""
    res_scale_init_value: float | Literal["none"] | None = None
    """Start of a learned scale on each shortcut; none: no such scale. null: none."""
    drop_path_rate: float | None = None
    """Probability of dropping a branch in the last block; it grows linearly from 0. null: 0."""
    hidden_dropout_prob: float | None = None
    """Dropout after the embedding and after each channel MLP. null: 0.1."""
    mlp_dropout: float | None = None
    """Dropout inside each channel MLP, after its activation. null: 0; models of earlier versions have there what they
    have elsewhere."""
    initializer_range: float | None = None
    """Standard deviation of fresh weights. null: 0.02, which suits hundreds of channels; narrow models learn faster
    from 0.1."""

    def given(self) -> dict[str, Any]:
        """The options that are not null and fields of the configuration."""
        options = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        for key in ("checkpoint", "exclude_mask_token"):
            options.pop(key, None)
        return {
            key: None if key.endswith("_init_value") and value == "none" else value for key, value in options.items()
        }

    def _unmixed(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, int | None]:
        """``exclude_mask_token``, where it is given, as the configuration says it."""
        if self.exclude_mask_token is None:
            return {}
        if self.exclude_mask_token and tokenizer.mask_token_id is None:
            raise ValueError(
                "model.exclude_mask_token is true, but the tokenizer has no mask token; train one of BERT's kind, or "
                "leave the option out"
            )
        return {"unmixed_token_id": tokenizer.mask_token_id if self.exclude_mask_token else None}

    def fingerprint(self) -> dict[str, str]:
        """Identity of the model that training begins with: hashes of its weights and config.json; nothing if fresh."""
        if self.checkpoint is None:
            return {}
        digest = hashlib.sha256()
        folder = Path(self.checkpoint)
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")):
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return {"checkpoint": digest.hexdigest(), "checkpoint_config": str(content_hash([folder / "config.json"]))}

    def build_config(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        max_length: int,
        *,
        saved: "PreTrainedConfig | None" = None,
        **extra: Any,
    ) -> "PreTrainedConfig":
        """The model's configuration; ``extra`` are further fields of it, such as ``id2label``.

        ``saved`` is that of ``checkpoint``, for one that is not there yet; else it is read from the folder.

        Raises:
            ValueError: for options that do not fit each other, the checkpoint or the tokenizer.
        """
        from metaformer_nlp.text import MetaFormerTextConfig

        if self.checkpoint is None:
            fields = {**_FRESH, **self.given(), **self._unmixed(tokenizer)}
            fields.setdefault("intermediate_size", 4 * fields["hidden_size"])
            fields.setdefault("num_attention_heads", max(1, fields["hidden_size"] // 32))
            return MetaFormerTextConfig(
                vocab_size=len(tokenizer),
                max_position_embeddings=max_length,
                pad_token_id=tokenizer.pad_token_id,
                **fields,
                **extra,
            )
        return self._changed(
            saved or load_text_config(self.checkpoint, "model.checkpoint"), tokenizer, max_length, extra
        )

    def _changed(
        self, saved: "PreTrainedConfig", tokenizer: "PreTrainedTokenizerBase", max_length: int, extra: dict[str, Any]
    ) -> "PreTrainedConfig":
        """The checkpoint's configuration with the options that are free, and ``extra``; others must say the same."""
        config, folder = copy.deepcopy(saved), self.checkpoint
        differing = [
            f"{key}: {getattr(config, key, 'absent')!r} in the checkpoint, {value!r} given"
            for key, value in {**self.given(), **self._unmixed(tokenizer)}.items()
            if key not in _FREE and getattr(config, key, None) != value
        ]
        if differing:
            raise ValueError(
                f"model.checkpoint={folder} is another model than the options say:\n  "
                + "\n  ".join(differing)
                + "\nLeave these options out (null): the checkpoint's own are taken"
            )
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens, model.checkpoint={folder} knows {config.vocab_size}; "
                "leave data.tokenizer out, so that the one saved with the checkpoint is taken"
            )
        check_same_tokenizer(tokenizer, config, str(folder))
        longest = getattr(config, "max_position_embeddings", max_length)
        if max_length > longest:
            raise ValueError(
                f"data.max_length={max_length}, but model.checkpoint={folder} has positions for {longest} tokens; "
                f"set data.max_length to at most {longest}"
            )
        free = {key: value for key, value in self.given().items() if key in _FREE and hasattr(config, key)}
        for key, value in {**free, **extra}.items():
            setattr(config, key, value)
        return config

    def build_model(self, auto_class: Any, config: "PreTrainedConfig") -> "PreTrainedModel":
        """A float32 model of ``auto_class`` (an Auto class), fresh or with all that the checkpoint has of it."""
        import torch

        if self.checkpoint is None:
            model: PreTrainedModel = auto_class.from_config(config)
        else:
            with reading(self.checkpoint, _MODEL, Exception):
                model = auto_class.from_pretrained(self.checkpoint, config=config, dtype=torch.float32)
        return model.train()

    def build_classifier(self, config: "PreTrainedConfig") -> "PreTrainedModel":
        """A float32 sequence classifier: fresh, or with the checkpoint's encoder.

        The checkpoint's classifier is kept only where it answers the same question: same class of model, ``id2label``
        and ``problem_type``, and the same ``finetuning_task`` where the checkpoint names one (several tasks call their
        labels 0 and 1). Else the classifier is fresh, drawn from torch's generator. The log says which of both.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        if self.checkpoint is None:
            return self.build_model(AutoModelForSequenceClassification, config)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        saved = load_text_config(self.checkpoint, "model.checkpoint")
        if (
            type(model).__name__ in (saved.architectures or ())
            and (saved.id2label, saved.problem_type) == (config.id2label, config.problem_type)
            and getattr(saved, "finetuning_task", None) in (None, getattr(config, "finetuning_task", None))
        ):
            logger.info("model.checkpoint=%s is of the same task: its classifier is kept", self.checkpoint)
            return self.build_model(AutoModelForSequenceClassification, config)
        logger.info("model.checkpoint=%s: its encoder is taken over, the classifier is fresh", self.checkpoint)
        fresh = cast("PreTrainedModel", model.base_model)
        with reading(self.checkpoint, _MODEL, Exception):
            encoder = type(fresh).from_pretrained(self.checkpoint, config=config, dtype=torch.float32)
        # Not strict: an encoder on its own may have a pooler that the classifier's goes without.
        fresh.load_state_dict(encoder.state_dict(), strict=False)
        return model.train()


def encoder_macs(model: "nn.Module", length: int, predictions: int = 1) -> int | None:
    """Multiply-accumulates of a row of ``length`` tokens: the blocks, and the head at ``predictions`` places.

    A classifier is asked once a row; a masked language model for each masked token: ``round(rate * length)`` of them,
    as many as its training asks for. What torch's FlopCounterMode counts, and Fourier transforms, which it does not;
    None for encoders without MetaFormer blocks.
    """
    from torch import nn

    from metaformer_nlp.core import MetaFormerBlock
    from metaformer_nlp.core.cost import block_macs, linear_macs

    blocks = [module for module in model.modules() if isinstance(module, MetaFormerBlock)]
    if not blocks:
        return None
    inside = {id(module) for block in blocks for module in block.modules()}
    heads = [module for module in model.modules() if isinstance(module, nn.Linear) and id(module) not in inside]
    head = sum(linear_macs(linear, 1) for linear in heads)
    return sum(block_macs(block, (length,)) for block in blocks) + predictions * head
