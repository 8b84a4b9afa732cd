"""Our models are known to transformers and timm, whoever is imported first and however: each order in a process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAMS = {
    "ours_first": """
import metaformer_nlp, vision
light()
opens()
timm_knows()
""",
    "transformers_first": """
import timm, transformers
from transformers import AutoModel
import metaformer_nlp, vision
opens()
timm_knows()
""",
    "transformers_without_auto_classes_first": """
import transformers
import metaformer_nlp, vision
assert "metaformer_nlp.text" not in sys.modules
opens()
""",
    "module_of_the_auto_classes": """
import metaformer_nlp, vision
import transformers.models.auto as auto
assert type(auto.AutoModel.from_pretrained("text")).__name__ == "MetaFormerTextModel"
config = auto.AutoConfig.from_pretrained("image")
assert type(auto.modeling_auto.AutoBackbone.from_config(config)).__name__ == "MetaFormerVisionBackbone"
opens()
""",
    "half_of_transformers": """  # its layers import the Auto classes before they are there themselves
import metaformer_nlp, vision
from transformers.modeling_layers import GradientCheckpointingLayer
opens()
""",
    "transformers_imports_timm": """
import metaformer_nlp, vision
from transformers import TimmWrapperConfig
timm_knows()
opens()
""",
    "timm_first": """
import metaformer_nlp, vision
timm_knows()
opens()
""",
    "one_of_our_modules": """
from vision.modeling import MetaFormerVisionModel
from metaformer_nlp.text.configuration import MetaFormerTextConfig
opens()
""",
    "saved_configuration": """
from metaformer_nlp import MetaFormerTextConfig
from vision.configuration import MetaFormerVisionConfig
for config in (MetaFormerTextConfig(), MetaFormerVisionConfig()):
    config.save_pretrained("saved")
    assert "AutoModel" in config.auto_map
""",
    "pickled": """
import pickle
model, config = pickle.loads(pathlib.Path("pickled").read_bytes())
assert type(config).__module__ == "vision.configuration"
opens()
""",
    "threads": """
import threading
import metaformer_nlp, vision
import transformers  # which threads cannot import side by side, with us or without
found = []
def open_model():
    from transformers import AutoModel
    found.append(type(AutoModel.from_pretrained("text")).__name__)
threads = [threading.Thread(target=open_model) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == ["MetaFormerTextModel"] * 4, found
""",
    "reload": """
import importlib
import metaformer_nlp, vision
importlib.reload(metaformer_nlp), importlib.reload(vision)
opens()
importlib.reload(metaformer_nlp), importlib.reload(vision)
opens()
""",
    "failed_import": """
import metaformer_nlp, vision
sys.modules["huggingface_hub.dataclasses"] = None
try:
    from transformers import AutoModel
except ImportError:
    del sys.modules["huggingface_hub.dataclasses"]
else:
    raise AssertionError
opens()
""",
    "trusted_code": """
from transformers import AutoModelForMaskedLM
theirs = AutoModelForMaskedLM.from_pretrained("text", trust_remote_code=True)
assert type(theirs).__module__.startswith("transformers_modules.")
import metaformer_nlp, vision
opens()
""",
}

START = """
import pathlib, sys

def light():
    assert not {"torch", "transformers", "timm", "datasets", "sklearn", "scipy", "pandas"} & set(sys.modules)

def opens():
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
    from transformers import AutoModelForMaskedLM
    assert type(AutoConfig.from_pretrained("text")).__module__ == "metaformer_nlp.text.configuration"
    assert type(AutoModel.from_pretrained("text")).__name__ == "MetaFormerTextModel"
    ours = AutoModelForMaskedLM.from_pretrained("text", trust_remote_code=True)
    assert type(ours).__module__ == "metaformer_nlp.text.heads"
    assert type(AutoModelForImageClassification.from_pretrained("image")).__module__ == "vision.modeling"
    assert AutoImageProcessor.from_pretrained("image").crop_pct

def timm_knows():
    import timm
    assert timm.create_model("metaformer_poolformer_nano", num_classes=7).num_classes == 7
"""
END = """
from metaformer_nlp import startup
opens()
timm_knows()
assert startup._WAITING not in sys.meta_path
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text model, an image model, and both pickled."""
    import vision
    from metaformer_nlp import MetaFormerTextConfig, MetaFormerTextForMaskedLM

    folder = tmp_path_factory.mktemp("saved")
    text = MetaFormerTextForMaskedLM(MetaFormerTextConfig(vocab_size=9, hidden_size=32, num_hidden_layers=1))
    image = vision.create_model("poolformer_nano", num_labels=3)
    text.save_pretrained(folder / "text")
    image.save_pretrained(folder / "image")
    vision.image_processor(image.config).save_pretrained(folder / "image")
    (folder / "pickled").write_bytes(pickle.dumps((text, image.config)))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_known(saved: Path, name: str) -> None:
    program = START + PROGRAMS[name] + END
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_MODULES_CACHE": str(saved / "modules")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=saved, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
