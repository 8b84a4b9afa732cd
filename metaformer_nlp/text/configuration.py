"""Configuration of the text model: what a `config.json` says, checked when it is read."""

from __future__ import annotations

from typing import Any, Self

from huggingface_hub.dataclasses import strict

from metaformer_nlp.core import ACTIVATIONS, MIXERS, NORMS, mixer_specs
from metaformer_nlp.hub.configuration import MetaFormerConfig

# Fields that are compared with numbers, and what each may be.
_NUMBERS: dict[str, tuple[type, ...]] = {
    "vocab_size": (int,),
    "hidden_size": (int,),
    "num_hidden_layers": (int,),
    "num_attention_heads": (int,),
    "intermediate_size": (int,),
    "max_position_embeddings": (int,),
    "type_vocab_size": (int,),
    "pad_token_id": (int, type(None)),
    "unmixed_token_id": (int, type(None)),
    "hidden_dropout_prob": (int, float),
    "mlp_dropout": (int, float, type(None)),
    "classifier_dropout": (int, float, type(None)),
    "drop_path_rate": (int, float),
}


@strict
class MetaFormerTextConfig(MetaFormerConfig):
    r"""Configuration of `MetaFormerTextModel` and its heads.

    The names are those of Hugging Face's encoders; a key that is not known is an error that names the nearest one.

    Args:
        vocab_size: Number of tokens of the vocabulary.
        hidden_size: Channels C of a token.
        num_hidden_layers: Number of MetaFormer blocks.
        num_attention_heads: Heads of layers whose mixer is `attention` or `ponet`; other mixers do not read it.
        intermediate_size: Hidden width of a block's channel MLP.
        hidden_act: Activation of the channel MLP and of the masked-LM head; a name of `core.channel_mlp.ACTIVATIONS`.
        max_position_embeddings: Longest row, and longest document of a packed row, in tokens.
        position_embedding: Whether a learned vector for its place in the document is added to each token. Without it
            the mixers alone tell order; where they are symmetric (`pooling` with odd windows, `identity`), a text read
            backwards has the same hidden states, backwards.
        type_vocab_size: Number of token types (first and second sentence of a pair).
        pad_token_id: Token whose embedding is zero and gets no gradient; padding itself is told by the mask.
        tie_word_embeddings: Whether the masked-LM decoder shares the embedding's weight.
        hidden_dropout_prob: Dropout after the embedding and on the channel MLP's result in every block.
        mlp_dropout: Dropout inside the channel MLP, after its activation. None takes `hidden_dropout_prob`, which is
            what files of earlier versions mean, where it is not written.
        classifier_dropout: Dropout before a classification head; None takes `hidden_dropout_prob`.
        layer_norm_eps: Epsilon of every norm.
        initializer_range: Standard deviation of fresh weights.
        token_mixer: A mixer's name, a mapping of its name and options (`{"name": "pooling", "pool_size": 7}`), or a
            list with one of these for each layer. In a list `"pooling x 10"` stands for ten of them and one
            `"pooling x rest"` for all that the others leave; so may the name of a mapping.
        pool_size: Window of `pooling` layers that do not name their own: an odd number, or a list with a window for
            each channel group (odd number, `"global"`, `"left:n"`, `"right:n"`).
        norm: Norm inside the blocks; `layer_norm` looks at one token at a time. Norms with statistics over tokens
            take them within a document.
        unmixed_token_id: Token that the mixers leave out as a source, usually [MASK]: its positions receive the
            others' averages and give nothing to any. None leaves out none. It is told by `input_ids` alone.
        layer_scale_init_value: Start of a learned scale per channel on each branch; None leaves it out.
        res_scale_init_value: Start of a learned scale per channel on each residual; None leaves it out.
        drop_path_rate: Peak of stochastic depth, growing linearly from 0 over the layers.
        use_residual: Whether the branches are added to the residual stream; off is an ablation.
        use_channel_mlp: Whether blocks have a channel MLP; off is an ablation.
        tokenizer_hash: Names the tokenizer that the model was saved with; None where that is not known.

    Raises:
        ValueError: For an unknown key or mixer, and for numbers that do not fit together.
    """

    model_type = "metaformer_text"

    vocab_size: int = 32000
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    position_embedding: bool = True
    type_vocab_size: int = 2
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    hidden_dropout_prob: float | int = 0.1
    mlp_dropout: float | int | None = 0.0
    classifier_dropout: float | int | None = None
    layer_norm_eps: float | int = 1e-6
    initializer_range: float | int = 0.02
    token_mixer: str | dict[str, Any] | list[str | dict[str, Any]] | tuple[str | dict[str, Any], ...] = "pooling"
    pool_size: int | list[int | str] | tuple[int | str, ...] = 3
    norm: str = "layer_norm"
    unmixed_token_id: int | None = None
    layer_scale_init_value: float | int | None = None
    res_scale_init_value: float | int | None = None
    drop_path_rate: float | int = 0.0
    use_residual: bool = True
    use_channel_mlp: bool = True
    tokenizer_hash: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.id2label and self.label2id is None:  # pipelines look labels up by name
            self.label2id = {str(name): int(number) for number, name in self.id2label.items()}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        return super().from_dict({"mlp_dropout": None, **config_dict}, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """What a `config.json` says: always `mlp_dropout`, without which it would be one of an earlier version."""
        return {**super().to_diff_dict(), "mlp_dropout": self.mlp_dropout}

    def layer_mixers(self) -> list[dict[str, Any]]:
        """The mixer of each layer, as specifications for `core.build_mixer`; `num_hidden_layers` of them."""
        return mixer_specs(self.token_mixer, self.num_hidden_layers, unit="layer")

    def used_mixers(self) -> set[str]:
        return {spec["name"] for spec in self.layer_mixers()}

    def mixer_defaults(self) -> dict[str, dict[str, Any]]:
        """Options that a layer's mixer takes from the configuration unless its own specification has them."""
        heads = {"num_heads": self.num_attention_heads}
        return {"pooling": {"pool_size": self.pool_size}, "attention": heads, "ponet": heads}

    def check(self) -> None:
        # The class checks its types only after this; a comparison would fail before, without the field's name.
        for name, kinds in _NUMBERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kinds):
                wanted = "a number" if float in kinds else "a whole number"
                raise ValueError(
                    f"{name}={value!r} in the text configuration is {type(value).__name__}; it must be {wanted}"
                    + (" or None" if type(None) in kinds else "")
                )
        for name in ("position_embedding", "use_residual", "use_channel_mlp"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} in the text configuration; it must be true or false")
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
            "num_attention_heads",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} in the text configuration; it must be at least 1")
        if self.num_hidden_layers < 0:
            raise ValueError(f"num_hidden_layers={self.num_hidden_layers} in the text configuration; it must be >= 0")
        for name in ("pad_token_id", "unmixed_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(
                    f"{name}={value} in the text configuration; it must be a token of the vocabulary, "
                    f"0..{self.vocab_size - 1} (vocab_size={self.vocab_size}), or None"
                )
        for name in ("hidden_dropout_prob", "mlp_dropout", "classifier_dropout", "drop_path_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name}={value} in the text configuration; it must be in [0, 1)")
        # Looking a name up is checking it: a miss is an error that lists the names.
        mixers, _, norm = self.layer_mixers(), ACTIVATIONS[self.hidden_act], NORMS[self.norm]
        if self.unmixed_token_id is None:
            return
        for layer, spec in enumerate(mixers):
            if not MIXERS[spec["name"]].excludes_sources:
                able = ", ".join(name for name in MIXERS if MIXERS[name].excludes_sources)
                raise ValueError(
                    f"unmixed_token_id={self.unmixed_token_id} in the text configuration, but the mixer of layer "
                    f"{layer}, {spec['name']}, cannot leave a token out; those that can: {able}"
                )
        if norm.mixes_tokens:
            able = ", ".join(name for name in NORMS if not NORMS[name].mixes_tokens)
            raise ValueError(
                f"unmixed_token_id={self.unmixed_token_id} in the text configuration, but norm={self.norm!r} takes "
                f"statistics over all tokens; those that look at one token: {able}"
            )
