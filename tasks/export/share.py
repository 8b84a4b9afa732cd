"""A trained model on the Hugging Face hub, or in a folder: weights, code, processor or tokenizer, and a filled card."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, PreTrainedConfig

from metaformer_nlp.config.command_line import command_words
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.hub.remote_code import CarriesCode
from tasks.card import last_part
from tasks.demo.folders import refuse_links
from tasks.demo.kinds import check_weights, kind_of, open_model
from tasks.export.dense_card import dense_card
from tasks.export.options import SharingConfig as Config
from tasks.export.space import write_around
from tasks.glue.tasks import TASKS
from tasks.images.card import image_card
from tasks.text.card import text_card
from tasks.text.checkpoints import load_tokenizer
from tasks.text.hub import PREFIX
from vision.dense.configuration import DenseConfig
from vision.loading import model_folder

__all__ = ["Config", "best_result", "run", "write_shared"]

EMBEDDING = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
}
"""What makes sentence-transformers take the mean over a text's tokens; the names that each of its releases reads."""


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


def write_shared(folder: Path, staged: Path, repository: str | None = None) -> str:
    """Put all that is shared of ``folder``, a run's or a model's, into the empty folder ``staged``; returns the card.

    Raises:
        ValueError: no model, no weights or no tokenizer there, a model of another kind, code that fits no file, or a
            link out of the folder.
    """
    inner = model_folder(folder)
    refuse_links(inner, folder)  # else a folder of somebody's could have any file of this machine sent
    if not read_json(inner / "config.json"):
        tasks = sorted(str(path.parents[1]) for path in folder.glob("*/model/config.json"))
        advice = f"one of {', '.join(tasks)}" if tasks else "a finished run's folder or one of save_pretrained"
        raise ValueError(f"{folder}: no saved model there; give {advice}")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(inner, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{inner}/config.json is of no model that is known here: {error} (a token mixer of your own: --plugins)"
        ) from error
    weights = sorted(inner.glob("model*.safetensors*"))
    if not weights:
        raise ValueError(
            f"{inner} holds a config.json, but no model.safetensors; a pickle, which can run code, is not shared: open "
            "the model where you trust it, and save it by save_pretrained"
        )
    try:
        check_weights(inner)
    except ValueError as error:
        raise ValueError(f"{inner}: {error}") from error
    for path in weights:
        shutil.copyfile(path, staged / path.name)  # without its mode: safetensors lets the owner alone read it
    if isinstance(config, CarriesCode):
        config.code()  # whatever keeps it from being written is an error here
    config.save_pretrained(staged)
    known = {"repository": repository, **_known(inner)}
    if (inner / "preprocessor_config.json").is_file():
        shutil.copyfile(inner / "preprocessor_config.json", staged / "preprocessor_config.json")
    if isinstance(config, DenseConfig):
        card = dense_card(config, **known)  # type: ignore[arg-type]
    elif any("ImageClassification" in kind for kind in config.architectures or ()):
        card = image_card(config, **known)
    elif config.model_type in ("metaformer_vision", "timm_wrapper"):
        raise ValueError(f"{inner} holds {config.architectures}, no image classifier: the card would tell wrong things")
    else:
        card = _write_text(config, inner, staged, known)
    (staged / "README.md").write_text(card, encoding="utf-8")
    return card


def write_space(folder: Path, staged: Path) -> str:
    """Put a Space around the model in ``folder`` into the empty folder ``staged``; returns the Space's README.md.

    Raises:
        ValueError: as :func:`write_shared`, a model that the page does not open, or a mixer of the user's own.
    """
    (staged / "model").mkdir()
    write_shared(folder, staged / "model")
    inner = model_folder(folder)
    try:
        open_model(inner, kind_of(inner))
    except ValueError as error:
        raise ValueError(f"{inner}: {error}") from error
    place = inner.resolve()
    name = place.parent.name if place.name in ("model", "model-best") else place.name
    return write_around(staged, re.sub(r"[^A-Za-z0-9_]+", "-", name)[:96].strip("-") or "model")


def _write_text(config: PreTrainedConfig, inner: Path, staged: Path, known: Mapping[str, Any]) -> str:
    """Tokenizer, and what sentence-transformers needs to know; returns the card."""
    tokenizer = load_tokenizer(str(inner), "model")
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"{inner}: the tokenizer has {len(tokenizer)} tokens, the model knows {config.vocab_size}")
    task = TASKS.get(getattr(config, "finetuning_task", None) or "")
    of_task: dict[str, Any] = {"glue": task.hub_name, "pair": len(task.texts) == 2} if task else {}
    card = text_card(config, tokenizer, **known, **of_task)
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))
    tokenizer.model_max_length = longest  # so that truncation=True gives what the model takes
    for name in ("is_local", "local_files_only"):  # how it was opened here is nothing to tell
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(staged)
    limit = {"max_seq_length": longest, "do_lower_case": False}
    pooling = {"word_embedding_dimension": config.hidden_size, **EMBEDDING["1_Pooling/config.json"]}  # type: ignore[dict-item]
    for name, values in {**EMBEDDING, "1_Pooling/config.json": pooling, "sentence_bert_config.json": limit}.items():
        (staged / name).parent.mkdir(exist_ok=True)
        (staged / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return card


def _known(inner: Path) -> dict[str, Any]:
    """What a run folder tells of its model: result, settings and command."""
    place = inner.resolve()
    if place.name not in ("model", "model-best") or not (place.parent / "environment.json").is_file():
        return {}
    names = ("result.json", "config.json", "environment.json")
    result, settings, environment = (read_json(place.parent / name) for name in names)
    if place.name == "model-best":
        result = best_result(result)
    of_task = f"constant/{place.parent.name}/"  # in a GLUE run, whose tasks have a folder each
    beside = (read_json(place.parent.parent / "result.json").get("metrics") or {}).items()
    constant = {name.removeprefix(of_task): value for name, value in beside if name.startswith(of_task)}
    return {"result": {**result, "constant": constant}, "settings": settings, "command": _command(environment)}


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
    return [shlex.quote(_public(word)) for word in command_words(starts[0]["command"])]


_PATH = re.compile(r"[^\s\[\],'\"]*/[^\s\[\],'\"]*")  # by itself, or within a list


def _public(word: str) -> str:
    """A word of a command without the folders of paths, which are somebody's machine.

    Scripts and recipes keep theirs; a model of timm and a data set of the hub are no paths.
    """

    def told(path: re.Match[str]) -> str:
        text = re.sub(r"^.*/(?=scripts/)", "", path[0])
        return text if text.startswith(("scripts/", "recipe:", "timm/", PREFIX)) else last_part(text)

    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + equals + _PATH.sub(told, value)


def run(config: Config, api: Any = None) -> str:
    """Share the model; returns its address. ``api`` stands for ``huggingface_hub.HfApi`` in tests.

    Raises:
        ValueError: no model in the folder, a repository name that the hub does not allow, or a refusal of the hub.
    """
    import_plugins(config.plugins)
    source = Path(config.model).expanduser()
    target = Path(config.folder).expanduser() if config.folder else None
    if not source.is_dir():
        raise ValueError(f"model {source}: no such folder (looked in {Path.cwd()})")
    if config.space and (config.repository or target or config.private):
        raise ValueError(
            "space: a Space is written into a folder of its own, and not sent; leave out --repository, --folder and "
            "--private, or share the model by another command"
        )
    space = Path(config.space).expanduser() if config.space else None
    target = space or target
    if not (config.repository or target or config.dry_run):
        raise ValueError(
            "nowhere to share to: give --repository USER/MODEL, --folder NEW_FOLDER, --space NEW_FOLDER or --dry_run "
            "true"
        )
    if target and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"folder {target} is there already and not empty; name a new one")
    if config.repository:
        try:
            validate_repo_id(config.repository)
        except HFValidationError as error:
            raise ValueError(f"repository {config.repository}: {error}") from error
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name) / "shared"  # the temporary folder itself is closed to others, and its mode would be copied
        staged.mkdir()
        card = write_space(source, staged) if space else write_shared(source, staged, config.repository)
        files = sorted(path for path in staged.rglob("*") if path.is_file())
        print(
            f"{model_folder(source)} -> {', '.join(str(to) for to in (config.repository, target) if to) or 'nowhere'}:"
        )
        for path in files:
            print(f"  {path.relative_to(staged)}  {path.stat().st_size / 1000:,.1f} kB")
        if config.dry_run:
            print(f"\n{card}")
            return ""
        if target:
            shutil.copytree(staged, target, dirs_exist_ok=True)
        if config.repository is None:
            return str(target)
        _send(config, staged, model_folder(source).resolve().name, api or HfApi())
    address = f"https://huggingface.co/{config.repository}"
    print(f"shared: {address}")
    return address


def _send(config: Config, staged: Path, name: str, api: Any) -> None:
    try:
        api.create_repo(config.repository, private=config.private, exist_ok=True)
        api.upload_folder(repo_id=config.repository, folder_path=str(staged), commit_message=f"Share {name}")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        raise ValueError(
            f"the hub took nothing of {config.repository}: {error} (log in with `hf auth login`; HF_HUB_OFFLINE=1 "
            "forbids all sending)"
        ) from error
