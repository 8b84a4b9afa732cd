"""Where a classifier looks: Grad-CAM pictures (arXiv 1610.02391) of several models side by side.

The map of a class is the last feature map, its channels weighted by the class's mean gradient, and only what speaks
for the class. It is computed by the package grad-cam (pytorch-grad-cam).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import TimmWrapperForImageClassification

from metaformer_nlp.config.names import split_names
from metaformer_nlp.config.plugins import import_plugins
from tasks.images.checkpoints import Logits, class_names, eval_transform, open_checkpoint, split_entry
from tasks.images.options import ExplanationConfig as Config
from vision import ImageClassifier, preprocessing
from vision.images import is_image_file, load_rgb
from vision.transforms import resize_and_crop

LAST_LAYERS = ("stages", "layers", "layer4", "s4", "blocks", "features")
"""Where timm's models keep what comes before the head; the last entry of the first that is there is taken."""
MAX_IMAGES = 50


def last_layer(model: ImageClassifier) -> nn.Module:
    """The last module whose output still has places.

    Raises:
        ValueError: a model of timm whose layers have no known name.
    """
    if not isinstance(model, TimmWrapperForImageClassification):
        return list(model.get_submodule("metaformer.stages").children())[-1]
    inner: Any = model.timm_model
    for name in LAST_LAYERS:
        if (found := getattr(inner, name, None)) is None:
            continue
        last: Any = found[-1] if isinstance(found, nn.Sequential | nn.ModuleList) else found
        # Where only the class token goes to the head, the other tokens of the last block get no gradient after it.
        return last.norm1 if getattr(inner, "global_pool", "") == "token" and hasattr(last, "norm1") else last
    raise ValueError(
        f"timm/{model.config.architecture}: which layer is the last with a map is not known; give --layer, one of "
        f"{', '.join(name for name, _ in inner.named_children())}"
    )


def to_map(model: ImageClassifier) -> Callable[[Tensor], Tensor]:
    """A layer's output, in whatever order its axes are, -> (B, C, h, w)."""
    inner: Any = getattr(model, "timm_model", None)
    prefix = getattr(inner, "num_prefix_tokens", 0)
    channels = getattr(inner, "num_features", None)

    def reshape(output: Tensor) -> Tensor:
        if output.ndim == 4:  # maps are (B, C, h, w), but for Swin and its kin
            last = inner is not None and output.shape[1] != channels and output.shape[3] == channels
            return output.permute(0, 3, 1, 2) if last else output
        tokens = output[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        if output.ndim != 3 or side * side != tokens.shape[1]:
            raise ValueError(f"a layer's output of shape {tuple(output.shape)} is no map; choose another --layer")
        return tokens.transpose(1, 2).unflatten(2, (side, side))

    return reshape


def heat_map(model: ImageClassifier, pixels: Tensor, target: int, layer: str | None = None) -> np.ndarray:
    """Grad-CAM of one image (3, S, S) for the class ``target``: (S, S) in [0, 1].

    Raises:
        ValueError: the library is missing, or there is no such layer.
    """
    if find_spec("pytorch_grad_cam") is None:
        raise ValueError("Grad-CAM needs the package grad-cam: pip install 'metaformer-nlp[explain]'")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if layer is None:
        module = last_layer(model)
    else:
        try:
            module = model.get_submodule(layer)
        except AttributeError as error:
            raise ValueError(f"layer {layer}: {error}; layers have names such as metaformer.stages.3") from error
    with GradCAM(Logits(model).eval(), [module], reshape_transform=to_map(model)) as camera:
        return np.asarray(camera(pixels[None], [ClassifierOutputTarget(target)])[0])


def as_seen(model: ImageClassifier, entry: str, picture: Image.Image) -> tuple[np.ndarray, Tensor]:
    """What the model of ``entry`` sees of a picture: to look at (S, S, 3) in 8 bits, and as it takes it (3, S, S)."""
    transform = eval_transform(preprocessing(model), entry)
    cut = resize_and_crop(picture, transform.size, transform.crop_pct, transform.interpolation)
    return np.asarray(cut), transform(picture)


def class_number(model: ImageClassifier, target: int | str) -> int:
    """The index of a class given by number or name; ValueError where there is none."""
    names = class_names(model)
    if str(target) in names:
        return names.index(str(target))
    number = int(target) if str(target).isdigit() else -1
    if not 0 <= number < len(names):
        raise ValueError(
            f"target {target}: no class of this model, which has {len(names)}, such as {', '.join(names[:5])}"
        )
    return number


def find_images(given: str | Sequence[str]) -> list[Path]:
    """The files that are named, and those in the folders that are named.

    Raises:
        ValueError: a path that is not there, or no image in a folder.
    """
    found: list[Path] = []
    for name in split_names(given):
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and is_image_file(file))
            if not inside:
                raise ValueError(f"images {path}: no image files in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"images {path}: no such file or folder (looked in {Path.cwd()})")
    return found


def draw(models: dict[str, ImageClassifier], images: Sequence[Path], config: Config) -> None:
    """A row for each image: the image as the first model sees it, then each model's heat map over what it sees."""
    from matplotlib.figure import Figure

    columns, rows = 1 + len(models), len(images)
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, path in enumerate(images):
        picture = load_rgb(path)
        for column, (entry, model) in enumerate(models.items(), 1):
            shown, pixels = as_seen(model, entry, picture)
            with torch.no_grad():
                shares = model(pixel_values=pixels[None]).logits[0].softmax(0)
            target = int(shares.argmax()) if config.target is None else class_number(model, config.target)
            if column == 1:
                grid[row, 0].imshow(shown)
                grid[row, 0].set_title(path.name, fontsize=8, wrap=True)
            grid[row, column].imshow(shown)
            grid[row, column].imshow(
                heat_map(model, pixels, target, config.layer), cmap="jet", alpha=0.45, vmin=0, vmax=1
            )
            heading = f"{title(entry)}\n" if row == 0 else ""
            grid[row, column].set_title(
                f"{heading}{class_names(model)[target][:28]} {100 * shares[target]:.0f} %", fontsize=8
            )
    path = Path(config.output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def title(entry: str) -> str:
    """What a column is called: the model's name where one is given, else the last part of the path."""
    name, path = split_entry(entry)
    return name or path.resolve().name


def run(config: Config) -> None:
    """Draw the picture."""
    import_plugins(config.plugins)
    if Path(config.output).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"output {config.output}: must end with .png, .pdf or .svg")
    images = find_images(config.images)
    if len(images) > MAX_IMAGES:
        raise ValueError(f"images: {len(images)} are too many for one picture; name at most {MAX_IMAGES} files")
    models = {entry: open_checkpoint(entry, config.image_size) for entry in split_names(config.checkpoint)}
    draw(models, images, config)
    print(f"{config.output}: {len(images)} images, {len(models)} models")
