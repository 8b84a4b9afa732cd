"""AdamW, LAMB or SGD, and their groups of parameters: decayed or not and, with layer decay, one pair a layer."""

from collections.abc import Collection, Mapping

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from metaformer_nlp.engine.config import OptimConfig


def decay_groups(model: nn.Module, not_decayed: Collection[str] = ()) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(decayed, not decayed) trainable parameters, each once.

    Not decayed: biases, whatever belongs to a norm, everything with at most one axis (layer scales among them), and
    what is named in `not_decayed` (see `Task`). Weight decay pulls towards zero, which for a scale means switching the
    layer off, and for a bias regularises nothing.

    ValueError if a name is no parameter of the model.
    """
    named = dict(model.named_parameters())
    if unknown := sorted(set(not_decayed) - named.keys()):
        raise ValueError(f"the task's not_decayed names {', '.join(unknown[:5])}, which the model does not have")
    chosen = {named[name] for name in not_decayed}
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        in_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            free = in_norm or parameter.ndim <= 1 or name.endswith("bias") or parameter in chosen
            (spared if free else decayed).append(parameter)
    return decayed, spared


def build_optimizer(
    model: nn.Module, optim: OptimConfig, fused: bool = False, depths: Mapping[str, int] | None = None,
    not_decayed: Collection[str] = (),
) -> Optimizer:  # fmt: skip
    """The optimizer over the trainable parameters, with `optim.layer_decay` by the `depths` of `Task.layer_depths`.

    `not_decayed`: as in `decay_groups`.

    ValueError if there are no trainable parameters, or one of them has no depth.
    """
    decayed, spared = decay_groups(model, not_decayed)
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, optim.weight_decay), (spared, 0.0))
        if parameters
    ]
    if not groups:
        raise ValueError(
            "the model has no trainable parameter; nothing can be optimised (set schedule.steps to 0 to evaluate it)"
        )
    if optim.layer_decay is not None:
        groups = [part for group in groups for part in _by_depth(model, group, optim.layer_decay, depths)]
    if optim.name == "lamb":
        from timm.optim.lamb import Lamb

        return Lamb(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)
    if optim.name == "sgd":
        assert optim.momentum is not None
        return SGD(groups, lr=optim.lr, momentum=optim.momentum, fused=fused or None)
    return AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=fused or None)


def _by_depth(model: nn.Module, group: dict, layer_decay: float, depths: Mapping[str, int] | None) -> list[dict]:
    """The group cut by depth, each part with its `lr_scale`."""
    if depths is None:
        raise ValueError(
            "optim.layer_decay needs a task that numbers its layers (a method layer_depths), which this one does not; "
            "set it to null"
        )
    names = {parameter: name for name, parameter in model.named_parameters()}
    missing = [names[parameter] for parameter in group["params"] if names[parameter] not in depths]
    if missing:
        raise ValueError(f"optim.layer_decay: the task's layer_depths has no depth for {', '.join(missing[:5])}")
    parts: dict[int, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(depths[names[parameter]], []).append(parameter)
    top = max(depths.values())
    return [{**group, "params": parts[depth], "lr_scale": layer_decay ** (top - depth)} for depth in sorted(parts)]


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` in the next step, in all groups, times the scale that layer decay has given to each."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
