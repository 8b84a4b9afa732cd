"""What the models of both families have in common: how their weights start."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from metaformer_nlp.core import TokenMixer


class MetaFormerPreTrainedModel(PreTrainedModel):
    """Every module starts as its own `reset_parameters` has it, but for those that a family draws otherwise."""

    supports_gradient_checkpointing = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Give `module`'s own tensors their fresh values, except those that a checkpoint has given.

        `from_pretrained` builds the model without memory, so that what is neither loaded nor set here would be
        arbitrary; a module with tensors of its own, such as a user's token mixer, needs a `reset_parameters`.
        """
        if isinstance(module, nn.MultiheadAttention):  # torch gave its method another name
            super()._init_weights(module)
            return
        own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        if not own:
            return
        reset_parameters = getattr(module, "reset_parameters", None)
        if reset_parameters is None:
            kind = "token mixer" if isinstance(module, TokenMixer) else "module"
            raise ValueError(
                f"{kind} {type(module).__name__} has tensors of its own ({', '.join(own)}) but no reset_parameters(); "
                "define it to set their first values, so that loading a checkpoint cannot leave them unset"
            )
        loaded = {name: tensor.clone() for name, tensor in own.items() if getattr(tensor, "_is_hf_initialized", False)}
        if len(loaded) < len(own):
            reset_parameters()
            for name, value in loaded.items():
                own[name].copy_(value)
