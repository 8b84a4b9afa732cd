"""Attention with rotary positions and windows is ModernBERT's, and ALiBi is MPT's, with equal weights."""

from __future__ import annotations

import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from metaformer_nlp.core.mixers.attention import Attention
from metaformer_nlp.core.positions import alibi_slopes, distance_bias, grid_offsets


@pytest.mark.parametrize(("layer", "window", "theta"), [(0, None, 160_000.0), (1, 8, 10_000.0)])
def test_rotary_and_windows_are_modernberts(layer: int, window: int | None, theta: float) -> None:
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=50, hidden_size=64, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64,
        local_attention=16, global_attn_every_n_layers=3, attn_implementation="sdpa", pad_token_id=0,
    )  # fmt: skip
    model = ModernBertModel(config).eval()
    theirs = model.layers[layer].attn
    ours = Attention(
        64, (200,), num_heads=4, proj_bias=False, positions="rotary", window=window, rope_theta=theta
    ).eval()
    ours.load_state_dict({"qkv.weight": theirs.Wqkv.weight, "proj.weight": theirs.Wo.weight})
    seen: dict[str, torch.Tensor] = {}
    theirs.register_forward_hook(
        lambda module, args, kwargs, output: seen.update(x=args[0] if args else kwargs["hidden_states"], y=output[0]),
        with_kwargs=True,
    )
    ids = torch.randint(1, 50, (2, 150))
    mask = torch.ones_like(ids)
    mask[1, 97:] = 0
    with torch.no_grad():
        model(ids, attention_mask=mask)
        mixed = ours(seen["x"], mask.bool())
    torch.testing.assert_close(mixed[mask > 0], seen["y"][mask > 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_heads", [4, 8, 12])
def test_alibi_is_mpts(num_heads: int) -> None:
    """MPT writes the bias of the last query: minus slope times the distance of each earlier key."""
    theirs = build_mpt_alibi_tensor(num_heads, 30, alibi_bias_max=8)[:, 0]
    slopes = alibi_slopes(num_heads)
    ours = distance_bias(grid_offsets((30,)), slopes)[:, -1]
    torch.testing.assert_close(ours.sort(0).values, theirs.sort(0).values)
