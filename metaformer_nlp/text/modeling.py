"""The text encoder: MetaFormer blocks over tokens, as a Hugging Face model.

Shapes: B batch, L tokens, C channels.

``segment_ids`` (B, L) says which tokens belong together: 0 is padding, k > 0 the k-th document of a packed row. Nothing
that a token gets depends on padding, on other rows or on other documents, whatever the mixer and the norm.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from metaformer_nlp.core import MetaFormerBlock, build_mixer, drop_path_rates
from metaformer_nlp.core.dropout import Dropout
from metaformer_nlp.core.segments import positions_in_segment
from metaformer_nlp.hub.modeling import MetaFormerPreTrainedModel
from metaformer_nlp.text.configuration import MetaFormerTextConfig


class MetaFormerTextEmbeddings(nn.Module):
    """Token, position (if any) and token type embeddings, summed, normalised and dropped out: (B, L) -> (B, L, C)."""

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size) if config.position_embedding else None
        )
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None,
        token_type_ids: Tensor | None,
    ) -> Tensor:
        x = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(position_ids)
        # Without token types all tokens are of type 0, whose embedding is added all the same.
        types = (
            self.token_type_embeddings.weight[0]
            if token_type_ids is None
            else self.token_type_embeddings(token_type_ids)
        )
        return self.dropout(self.norm(x + types))


class MetaFormerTextLayer(GradientCheckpointingLayer, MetaFormerBlock):
    """The core's block, as a unit of gradient checkpointing and of recorded hidden states: (B, L, C) -> (B, L, C)."""


class MetaFormerTextPreTrainedModel(MetaFormerPreTrainedModel):
    """What the encoder and its heads have in common: configuration, initialisation, loading."""

    config: MetaFormerTextConfig
    config_class = MetaFormerTextConfig
    base_model_prefix = "encoder"
    _no_split_modules = ["MetaFormerTextLayer"]  # noqa: RUF012
    _can_record_outputs = {"hidden_states": MetaFormerTextLayer}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):  # as Hugging Face's encoders: normal, by `initializer_range`
            PreTrainedModel._init_weights(self, module)
        else:
            super()._init_weights(module)


class MetaFormerTextModel(MetaFormerTextPreTrainedModel):
    """Embeddings, MetaFormer blocks and a last norm; the tokens' hidden states without a head."""

    # A checkpoint of a model with a head holds more than the encoder wants.
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\.", r"^classifier\.", r"^qa_outputs\."]  # noqa: RUF012

    def __init__(self, config: MetaFormerTextConfig) -> None:
        config.check()  # once more: fields can be set after a configuration was made
        super().__init__(config)
        self.embeddings = MetaFormerTextEmbeddings(config)
        rates = drop_path_rates(config.drop_path_rate, config.num_hidden_layers)
        self.layers = nn.ModuleList(
            MetaFormerTextLayer(
                config.hidden_size,
                build_mixer(spec, config.hidden_size, (config.max_position_embeddings,), config.mixer_defaults()),
                hidden_dim=config.intermediate_size,
                norm=config.norm,
                norm_eps=config.layer_norm_eps,
                activation=config.hidden_act,
                dropout=config.hidden_dropout_prob,
                mlp_dropout=config.mlp_dropout,
                drop_path=rate,
                layer_scale_init=config.layer_scale_init_value,
                res_scale_init=config.res_scale_init_value,
                use_residual=config.use_residual,
                use_channel_mlp=config.use_channel_mlp,
            )
            for spec, rate in zip(config.layer_mixers(), rates, strict=True)
        )
        # Per token whatever the norm of the blocks: the identity mixer must be able to mix nothing.
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = cast(nn.Embedding, value)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """(B, L) -> last_hidden_state (B, L, C).

        Args:
            input_ids: Token ids (B, L); either these or `inputs_embeds`.
            attention_mask: 1 for tokens and 0 for padding (B, L).
            token_type_ids: 0 for the first and 1 for the second sentence of a pair (B, L); None is all 0.
            position_ids: Positions (B, L); None counts the tokens of each document from 0, so that neither left padding
                nor packing changes a position. A model without `position_embedding` has no use for them.
            inputs_embeds: Embeddings (B, L, C) in place of those of `input_ids`.
            segment_ids: 0 for padding, k > 0 for the k-th document of the row (B, L); None takes `attention_mask`.
                Where both are given, a token is real only where both say so.

        Raises:
            ValueError: When the inputs do not fit together or are longer than `max_position_embeddings`.
        """
        tokens = input_ids if input_ids is not None else inputs_embeds
        if tokens is None or (input_ids is not None and inputs_embeds is not None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        batch_size, length = tokens.shape[:2]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"{length} tokens in a row, but max_position_embeddings is {self.config.max_position_embeddings}: "
                "truncate the text, or configure a longer model"
            )
        segments = merge_masks(attention_mask, segment_ids, (batch_size, length))
        sources = None
        if self.config.unmixed_token_id is not None and input_ids is not None:
            sources = input_ids != self.config.unmixed_token_id
            segments = torch.ones_like(sources) if segments is None else segments
        if inputs_embeds is not None and segments is not None:
            # Weights of 0 keep padding out of every mixer, but 0 times what is or becomes no number is none either.
            harmless = inputs_embeds.abs() < 1e4
            inputs_embeds = torch.where((segments > 0)[:, :, None] | harmless, inputs_embeds, 0.0)
        if position_ids is None and self.config.position_embedding:
            if segments is None:
                position_ids = torch.arange(length, device=tokens.device)[None]
            else:
                position_ids = positions_in_segment(segments)

        x = self.embeddings(input_ids, inputs_embeds, position_ids, token_type_ids)
        # What depends on the segments alone is computed by the first layer that needs it and shared by the others.
        shared: dict[Hashable, Any] = {}
        for layer in cast(list[MetaFormerTextLayer], self.layers):
            x = layer(x, layer.prepare(segments, shared, sources))
        return BaseModelOutput(last_hidden_state=self.norm(x))


def merge_masks(attention_mask: Tensor | None, segment_ids: Tensor | None, shape: tuple[int, int]) -> Tensor | None:
    """Segments (B, L) from what the caller knows of padding and documents; None when every token is real.

    A padding mask alone gives a boolean tensor, which says that every row is one document.

    Raises:
        ValueError: When one of them is not of shape (B, L).
    """
    for name, mask in (("attention_mask", attention_mask), ("segment_ids", segment_ids)):
        if mask is not None and tuple(mask.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(mask.shape)}; it must be (batch, tokens) = {shape}")
    if attention_mask is None:
        return None if segment_ids is None else segment_ids.long()
    real = attention_mask != 0
    return real if segment_ids is None else segment_ids.long() * real


def masked_mean(x: Tensor, segments: Tensor | None) -> Tensor:
    """(B, L, C) -> (B, C): mean over the real tokens of each row, in float32; zeros for a row of padding alone."""
    if segments is None:
        return x.mean(dim=1)
    real = (segments > 0)[:, :, None]
    total = torch.where(real, x.float(), 0.0).sum(dim=1)
    return (total / real.sum(dim=1).clamp(min=1)).to(x.dtype)
