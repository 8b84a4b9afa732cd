"""A trained image classifier on the Hugging Face hub: weights, image processor and a filled model card."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from tasks.plugins import import_plugins
from vision.card import last_part, model_card
from vision.loading import model_folder, stored_config

SHARED = ("config.json", "preprocessor_config.json", "model.safetensors", "README.md")
"""What goes to the hub, besides the parts of weights that were saved in several files."""


@dataclass(frozen=True)
class Config:
    """Share a trained image classifier."""

    model: str
    """A run folder (its model/ is shared, the card tells its results and settings), its model-best/, or a folder of
    save_pretrained."""
    repository: str
    """Where to: USER/MODEL on the hub."""
    private: bool = False
    """true: only you and those you invite see it."""
    dry_run: bool = False
    """true: show the model card and the files, and send nothing."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; nothing where there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no valid json ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold a json object, not a {type(values).__name__}")
    return values


def card_of(folder: Path, repository: str) -> str:
    """The model card of a run folder, or of a model's folder, about which less is known."""
    inner = model_folder(folder)
    config = stored_config(inner)
    if config is None:
        raise ValueError(f"{folder}: no saved model there; give a finished run's folder or one of save_pretrained")
    if not any("ImageClassification" in kind for kind in config.architectures or ()):
        raise ValueError(f"{inner} holds {config.architectures}, no image classifier: the card would tell wrong things")
    place = inner.resolve()
    trained = place.name in ("model", "model-best") and (place.parent / "environment.json").is_file()
    result, settings, environment = (
        read_json(place.parent / name) if trained else {} for name in ("result.json", "config.json", "environment.json")
    )
    if place.name == "model-best":
        result = best_result(result)
    return model_card(config, result, settings, repository=repository, command=_command(environment))


def best_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's result.json says of model-best: the metric that chose it, and how long it was trained until then."""
    best, train = result.get("best"), result.get("train")
    if not best or not train:  # no such run, and what the last model reached is not what this one did
        return {key: value for key, value in result.items() if key not in ("metrics", "train")}
    step = best["step"]
    return {
        **result,
        "metrics": {name: value for name, value in best.items() if name != "step"},
        "train": {"steps": step, "epochs": train["epochs"] * step / train["steps"]},
    }


def _command(environment: Mapping[str, Any]) -> list[str] | None:
    starts = environment.get("starts") or []
    if not starts:
        return None
    return ["python", *(shlex.quote(_public(str(word))) for word in starts[0]["command"])]


def _public(word: str) -> str:
    """A word of a command without the folders of paths, which are somebody's machine; timm/<name> is no path."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + equals + ("timm/" if value.startswith("timm/") else "") + last_part(value)


def run(config: Config, api: Any = None) -> str:
    """Share the model; returns its address. ``api`` stands for ``huggingface_hub.HfApi`` in tests.

    Raises:
        ValueError: no model in the folder, a repository name that the hub does not allow, or a refusal of the hub.
    """
    import_plugins(config.plugins)
    folder = Path(config.model).expanduser()
    if not folder.is_dir():
        raise ValueError(f"model {folder}: no such folder (looked in {Path.cwd()})")
    try:
        validate_repo_id(config.repository)
    except HFValidationError as error:
        raise ValueError(f"repository {config.repository}: {error}") from error
    card, inner = card_of(folder, config.repository), model_folder(folder)
    files = sorted(path for path in inner.iterdir() if path.name in SHARED[:2] or path.name.startswith("model"))
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        for path in files:
            shutil.copy2(path, staged / path.name)
        (staged / "README.md").write_text(card, encoding="utf-8")
        sizes = [f"  {path.name}  {path.stat().st_size / 2**20:.1f} MB" for path in sorted(staged.iterdir())]
        print("\n".join([f"{inner} -> {config.repository}:", *sizes]))
        if config.dry_run:
            print(f"\n{card}")
            return ""
        api = api or HfApi()
        try:
            api.create_repo(config.repository, private=config.private, exist_ok=True)
            api.upload_folder(
                repo_id=config.repository, folder_path=str(staged), commit_message=f"Share {inner.resolve().name}"
            )
        except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
            raise ValueError(
                f"the hub took nothing of {config.repository}: {error} (log in with `hf auth login`; HF_HUB_OFFLINE=1 "
                "forbids all sending)"
            ) from error
    address = f"https://huggingface.co/{config.repository}"
    print(f"shared: {address}")
    return address
