"""A Hugging Face Space around a model: the page's start, its requirements, its card, and this package as a wheel."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from huggingface_hub import SpaceCardData
from transformers import AutoConfig, PreTrainedConfig

from metaformer_nlp.core import MIXERS
from tasks.demo.kinds import Kind, kind_of
from tasks.export.wheel import write_wheel
from vision.dense.configuration import DenseConfig

__all__ = ["REQUIREMENTS", "write_around"]

REQUIREMENTS = (
    "gradio", "grad-cam", "huggingface-hub", "matplotlib", "numpy", "pillow", "protobuf", "psutil", "pyyaml",
    "safetensors", "scikit-learn", "sentencepiece", "timm", "tokenizers", "torch", "torchvision", "transformers",
)  # fmt: skip
"""What the page imports, and no more of what the whole project needs."""
ABOUT: dict[Kind, str] = {
    "classifier": "Drop a picture: the page shows its likeliest classes and where the model looks.",
    "detector": "Drop a picture: the page shows the objects that the model finds.",
    "segmenter": "Drop a picture: the page shows the class of each pixel.",
    "masked_lm": "Write a sentence with a [MASK]: the page shows the words that the model expects there.",
    "text_classifier": "Write a text: the page shows its class.",
}
APP = '''"""Starts the page: python app.py. The package comes from the wheel beside this file, which no index has."""

import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Not a line of requirements.txt: when the hub installs these, it does not see the Space's other files.
package = tempfile.TemporaryDirectory(prefix="package-")
with zipfile.ZipFile(FOLDER / "{wheel}") as archive:
    archive.extractall(package.name)
sys.path.insert(0, package.name)

from tasks.demo.space import run  # noqa: E402

run(FOLDER / "model", {title})
'''
CARD = """---
{head}
---

# {title}

{about} Its card, with results and training, is [model/README.md](model/README.md).

The same here: `pip install -r requirements.txt && python app.py`. Into a Space of yours:

```
hf repos create USER/{title} --repo-type space --space-sdk gradio
hf upload USER/{title} . --repo-type space
```
"""


def write_around(folder: Path, title: str) -> str:
    """Complete the Space in ``folder``, whose ``model`` is there; returns the text of its README.md.

    Raises:
        ValueError: a model that the page has no tab for, a mixer that is not this package's, or a library of the page
            that is not installed.
    """
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder / "model", trust_remote_code=False)
    kind = kind_of(folder / "model")
    trunk = config.trunk_config() if isinstance(config, DenseConfig) and config.architecture is None else config
    for name in getattr(trunk, "used_mixers", set)():
        if not MIXERS[name].__module__.startswith("metaformer_nlp."):
            raise ValueError(
                f"space: the token mixer {name!r} is a plugin, and a Space runs this package alone; share the model by "
                "--repository or --folder, which takes the mixer's code along"
            )
    names = [*REQUIREMENTS, *(["pycocotools"] if kind == "detector" else [])]
    try:
        versions = {name: version(name).partition("+")[0] for name in names}
    except PackageNotFoundError as error:
        raise ValueError(
            f"space: a Space requires the versions that are installed here, and {error.name} is not: "
            "pip install 'metaformer-nlp[demo,dense]'"
        ) from error
    wheel = write_wheel(folder)
    (folder / "requirements.txt").write_text("".join(f"{name}=={number}\n" for name, number in versions.items()))
    (folder / "app.py").write_text(APP.format(wheel=wheel.name, title=json.dumps(title)), encoding="utf-8")
    head = SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=versions["gradio"],
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0",
        tags=["metaformer", "vision" if config.model_type != "metaformer_text" else "text"],
    )
    card = CARD.format(head=head.to_yaml(), title=title, about=ABOUT[kind])
    (folder / "README.md").write_text(card, encoding="utf-8")
    return card
