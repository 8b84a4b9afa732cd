"""AdamW with its two groups of parameters."""

from torch import nn
from torch.optim import AdamW, Optimizer

from metaformer_nlp.engine.config import OptimConfig


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(decayed, not decayed) trainable parameters, each once.

    Not decayed: biases, whatever belongs to a norm, and everything with at most one axis (layer scales among them).
    Weight decay pulls towards zero, which for a scale means switching the layer off, and for a bias regularises
    nothing.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        in_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            (spared if in_norm or parameter.ndim <= 1 or name.endswith("bias") else decayed).append(parameter)
    return decayed, spared


def build_optimizer(model: nn.Module, optim: OptimConfig, fused: bool = False) -> AdamW:
    """AdamW over the trainable parameters; ValueError if there are none."""
    decayed, spared = decay_groups(model)
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, optim.weight_decay), (spared, 0.0))
        if parameters
    ]
    if not groups:
        raise ValueError(
            "the model has no trainable parameter; nothing can be optimised (set schedule.steps to 0 to evaluate it)"
        )
    return AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=fused or None)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` in the next step, in all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
