"""Evaluation whose numbers do not depend on the number of processes.

The batches are a function of the data set alone and are dealt to the processes whole; the results are put back into
batch order before the task summarises them. So every sample counts once, and the same floating-point operations run
in the same order.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from metaformer_nlp.engine.items import Items
from metaformer_nlp.engine.order import EvaluationBatches, KeyedSamples, evaluation_seed, seed_torch
from metaformer_nlp.engine.processes import any_process, gather_on_first, on_first, read_batches
from metaformer_nlp.engine.task import EvaluationTask


def evaluate(
    task: EvaluationTask,
    model: nn.Module,
    accelerator: Accelerator,
    *,
    batch_size: int,
    seed: int = 0,
    num_workers: int = 0,
    reader_start: Any = None,
    stop: Callable[[], bool] = lambda: False,
    items: Items | None = None,
) -> dict[str, float] | None:
    """Metrics of all splits, named "<split>/<metric>", on every process. None: some process was asked to stop.

    What the task tells of single items is put into `items` on the first process, named alike.
    """
    metrics: dict[str, float] = {}
    training = model.training
    model.eval()
    try:
        for split, data in task.eval_data.items():
            batches = EvaluationBatches(len(data), batch_size, accelerator.process_index, accelerator.num_processes)
            results: list[tuple[int, dict[str, Tensor]]] = []
            reader = read_batches(
                KeyedSamples(data, None), batches, task.collate, accelerator, num_workers, reader_start
            )
            with closing(reader):  # also when the task fails at a batch
                for number, batch in zip(batches.numbers, reader, strict=True):
                    if any_process(accelerator, stop()):
                        return None
                    seed_torch(evaluation_seed(seed, number or 0), accelerator.device)
                    with torch.no_grad():
                        result = task.evaluate_batch(model, batch)
                    if number is not None:
                        results.append((number, {name: value.detach().cpu() for name, value in result.items()}))
            summary = _summarize(task, split, results, accelerator, {} if items is None else items)
            metrics.update({f"{split}/{name}": value for name, value in summary.items()})
    finally:
        model.train(training)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # a forward pass alone leaves the outermost weights gathered: they could not be saved
    return metrics


def _summarize(
    task: EvaluationTask, split: str, results: list[tuple[int, dict[str, Tensor]]], accelerator: Accelerator,
    items: Items,
) -> dict[str, float]:  # fmt: skip
    everywhere = gather_on_first(accelerator, results)

    def summarize() -> dict[str, float]:
        assert everywhere is not None
        in_order = sorted((item for part in everywhere for item in part), key=lambda item: item[0])
        assert [number for number, _ in in_order] == list(range(len(in_order))), "a batch is missing or there twice"
        ordered = [result for _, result in in_order]
        items.update({f"{split}/{name}": bits for name, bits in task.items(split, ordered).items()})
        return {name: float(value) for name, value in task.summarize(split, ordered).items()}

    return on_first(accelerator, summarize)
