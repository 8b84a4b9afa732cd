"""The engine's part of the published recipes against timm's functions: learning rate, weight decay, steps, average."""

import copy
from typing import Literal

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3

import vision
from metaformer_nlp.engine.average import WeightAverage
from metaformer_nlp.engine.config import OptimConfig, ScheduleConfig
from metaformer_nlp.engine.optimizer import build_optimizer, set_learning_rate
from metaformer_nlp.engine.schedule import learning_rate, total_steps
from tasks.images.model import not_decayed

POOLFORMER = {"epochs": 300, "warmup_epochs": 5, "warmup_start_lr": 1e-6, "min_lr": 1e-5, "cooldown_epochs": 10}
CAFORMER = POOLFORMER | {"warmup_epochs": 20}


@pytest.mark.parametrize(("options", "peak"), [(POOLFORMER, 1e-3), (POOLFORMER, 4e-3), (CAFORMER, 8e-3)])
@pytest.mark.parametrize("update_every", ["epoch", "step"])
def test_the_learning_rate_is_that_of_timm(options: dict, peak: float, update_every: str) -> None:
    """As timm's train.py calls its scheduler: at the start, after each update and after each epoch."""
    updates = 5
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    theirs, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=options["epochs"],
        warmup_epochs=options["warmup_epochs"],
        warmup_lr=options["warmup_start_lr"],
        min_lr=options["min_lr"],
        cooldown_epochs=options["cooldown_epochs"],
        step_on_epochs=update_every == "epoch",
        updates_per_epoch=updates,
    )
    expected = []
    for epoch in range(epochs):
        for update in range(updates):
            expected.append(optimizer.param_groups[0]["lr"])
            theirs.step_update(epoch * updates + update + 1)
        theirs.step(epoch + 1)
    schedule = ScheduleConfig(**options, decay_from="start", update_every=update_every)
    assert total_steps(schedule, 16 * updates, 16) == len(expected) == 310 * updates
    found = [learning_rate(step, peak, schedule, 16 * updates, 16) for step in range(len(expected))]
    assert found == pytest.approx(expected, rel=1e-12)


TIMM = ["timm/deit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224"]
"""Models with class tokens, position embeddings and tables of biases, which timm does not decay."""


@pytest.mark.parametrize("name", ["poolformer_s12", "metaformer_pppa_s12", "poolformerv2_s12", "caformer_s18", *TIMM])
def test_the_same_weights_are_decayed_as_by_timm(name: str) -> None:
    with torch.device("meta"):
        model = vision.create_model(name)
    names = {parameter: name for name, parameter in model.named_parameters()}
    ours = build_optimizer(model, OptimConfig(weight_decay=0.05), not_decayed=not_decayed(model))
    theirs = create_optimizer_v2(getattr(model, "timm_model", model), weight_decay=0.05)  # asks for no_weight_decay

    def sides(groups: list) -> dict[float, set[str]]:
        return {group["weight_decay"]: {names[parameter] for parameter in group["params"]} for group in groups}

    assert sides(ours.param_groups) == sides(theirs.param_groups)
    assert set(sides(theirs.param_groups)) == {0.0, 0.05}


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_the_same_steps_as_with_the_optimizer_of_timm(name: Literal["adamw", "lamb"]) -> None:
    """With the follow-up's options: lr 8e-3, weight decay 0.05, timm's defaults for the rest."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3))
    other = copy.deepcopy(model)
    eps = {"adamw": 1e-8, "lamb": 1e-6}[name]
    ours = build_optimizer(model, OptimConfig(name=name, lr=8e-3, weight_decay=0.05, eps=eps))
    theirs = create_optimizer_v2(other, opt=name, lr=8e-3, weight_decay=0.05)
    for step in range(5):
        inputs = 10 * torch.randn(4, 6)
        for each, optimizer in ((model, ours), (other, theirs)):
            optimizer.zero_grad()
            each(inputs).square().sum().backward()
            set_learning_rate(optimizer, 8e-3 / (step + 1))
            optimizer.step()
    for mine, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-8)


def test_the_average_of_the_weights_is_that_of_timm() -> None:
    """Batch norm brings running statistics and a counter."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
    ours, theirs = WeightAverage(model, 0.9), ModelEmaV3(model, decay=0.9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(4, 6)).square().sum().backward()
        optimizer.step()
        ours.update()
        theirs.update(model)
    with ours.applied():
        for name, expected in theirs.module.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], expected, rtol=1e-6, atol=1e-8)
