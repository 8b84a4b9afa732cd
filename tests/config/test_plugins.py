"""A mixer of the user's own, in a file of the user's own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core import MIXERS

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_mixer_is_registered_by_its_file(tmp_path: Path) -> None:
    code = re.search(r"```python\n(# my_mixer\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    file = tmp_path / "my_mixer.py"
    file.write_text(code[1], encoding="utf-8")
    import_plugins([str(file)])
    import_plugins([str(file)])  # once is enough
    del sys.modules["my_mixer"]
    kind = MIXERS._entries.pop("previous")
    x, ids = torch.randn(1, 9, 4), torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0, 0]])
    mixer = kind(4, (9,))
    torch.testing.assert_close(mixer(x, ids)[:, 3:7], mixer(x[:, 3:7]))
    torch.testing.assert_close(mixer(x, ids)[:, :3], mixer(x[:, :3]))
    torch.testing.assert_close(mixer(x)[:, 1:], x[:, :-1])
    picture = torch.randn(1, 3, 5, 4)
    mixed = kind(4, (3, 5), distance=2)(picture)
    torch.testing.assert_close(mixed[:, :, 2:], picture[:, :, :3])  # along the row
    assert not mixed[:, :, :2].any()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file nowhere\.py"):
        import_plugins(["nowhere.py"])
    with pytest.raises(ValueError, match=r"no module 'not_there\.at_all'"):
        import_plugins(["not_there.at_all"])
    (tmp_path / "json.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="rename the file"):
        import_plugins([str(tmp_path / "json.py")])
