"""A mixer of the user's own, in a file of the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from metaformer_nlp.core import MIXERS
from tasks import image_classification
from tasks.cli import from_dict
from tasks.plugins import import_plugins

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_mixer_is_registered_by_its_file(tmp_path: Path) -> None:
    code = re.search(r"```python\n(# my_mixer\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    file = tmp_path / "my_mixer.py"
    file.write_text(code[1], encoding="utf-8")
    options = {"plugins": [str(file)], "run.folder": str(tmp_path / "run"), "run.batch_size": 8, "schedule.steps": 1}
    config = from_dict(image_classification.Config, {**options, "model.token_mixer": "previous"})
    with pytest.raises(ValueError, match="1"):  # it says that it is for text alone
        image_classification.run(config)
    import_plugins([str(file)])  # once is enough
    mixer = MIXERS._entries.pop("previous")(4, (9,))
    x, ids = torch.randn(1, 9, 4), torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0, 0]])
    torch.testing.assert_close(mixer(x, ids)[:, 3:7], mixer(x[:, 3:7]))
    torch.testing.assert_close(mixer(x, ids)[:, :3], mixer(x[:, :3]))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file nowhere\.py"):
        import_plugins(["nowhere.py"])
    with pytest.raises(ValueError, match=r"no module 'not_there\.at_all'"):
        import_plugins(["not_there.at_all"])
    (tmp_path / "json.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="rename the file"):
        import_plugins([str(tmp_path / "json.py")])
