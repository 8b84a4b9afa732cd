"""Text models on the hub or in a folder: code, tokenizer, card, and embeddings by sentence-transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase, pipeline

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import (
    MetaFormerTextConfig,
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
)
from metaformer_nlp.text.modeling import masked_mean
from tasks.export import share as sharing
from tasks.text.card import text_card
from tasks.text.checkpoints import save_text_model

TEXTS = ["A short one.", "A much longer text, which has many more words in it than the short one has.", "x"]
FILES = {
    "README.md", "config.json", "model.safetensors", "modeling_metaformer_text.py", "tokenizer.json",
    "tokenizer_config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
}  # fmt: skip


class Hub:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None: ...

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        root = Path(folder_path)
        self.files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """``pretrain`` and ``glue/RTE``, as training leaves them."""
    root = tmp_path_factory.mktemp("alice")
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 32,
        "num_attention_heads": 2, "max_position_embeddings": 40,  # the tokenizer's 512
        "initializer_range": 0.5,
        "token_mixer": ["pooling", "pooling", "attention"], "pool_size": [3, "global"],
    }  # fmt: skip
    labels = {"id2label": {0: "entailment", 1: "not_entailment"}, "finetuning_task": "RTE"}
    pretrain, glue = root / "pretrain", root / "glue" / "RTE"
    save_text_model(MetaFormerTextForMaskedLM(MetaFormerTextConfig(**shape)), tokenizer, pretrain / "model")
    save_text_model(
        MetaFormerTextForSequenceClassification(MetaFormerTextConfig(**shape, **labels)), tokenizer, glue / "model"
    )
    common = {"parameters": {"total": 1234567}, "macs": 7e9, "train": {"steps": 5, "epochs": 2}, "batch_size": 8}
    mlm = {"validation/loss": 2.5, "validation/accuracy": 0.25, "validation/masked_perplexity": 12.2}
    describe(pretrain, {"metrics": mlm, **common}, {"text": f"{root}/wiki.txt", "max_length": 40}, ["pretrain_text.py"])
    found = {"validation/loss": 0.7, "validation/accuracy": 0.5625, "validation/score": 0.5625}
    command = ["finetune_glue.py", f"--data.root={root}", "--model.checkpoint", f"{pretrain}/model"]
    describe(glue, {"metrics": found, **common}, {"root": str(root), "max_length": 40}, command)
    (glue.parent / "result.json").write_text(json.dumps({"metrics": {"constant/RTE/accuracy": 0.5271}}))
    return root


def describe(run: Path, result: dict[str, Any], data: dict[str, Any], command: list[str]) -> None:
    settings = {"data": data, "masking": {"rate": 0.3}, "run": {"seed": 3}, "model": {"checkpoint": None}}
    for name, values in (
        ("result", result),
        ("config", settings),
        ("environment", {"starts": [{"command": command}]}),
    ):
        (run / f"{name}.json").write_text(json.dumps(values))


def share(model: Path, hub: Any = None, **options: Any) -> str:
    return sharing.run(from_dict(sharing.Config, {"model": str(model), **options}), hub)


def head_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---")[1])


def test_a_masked_language_model_is_shared(runs: Path) -> None:
    hub = Hub()
    assert share(runs / "pretrain", hub, repository="me/small") == "https://huggingface.co/me/small"
    assert set(hub.files) == FILES
    card = hub.files["README.md"].decode()
    head = head_of(card)
    assert head["pipeline_tag"] == "fill-mask"
    values = {entry["type"]: entry["value"] for entry in head["model-index"][0]["results"][0]["metrics"]}
    assert values == {"accuracy": 0.25, "perplexity": 12.2}
    for words in (
        "| pooling x 2, attention |", "| 3 / global |", "| 1,234,567 |", "of 40 tokens | 7.000 G |",
        "| Unigram, 700 tokens", "| 30 % of the tokens |", "| wiki.txt |",
        'model="me/small", trust_remote_code=True)', "with a [MASK] in it",
    ):  # fmt: skip
        assert words in card
    assert "None" not in card


def test_a_classifier_is_shared_with_its_task(runs: Path) -> None:
    hub = Hub()
    share(runs / "glue" / "RTE", hub, repository="me/rte")
    card = hub.files["README.md"].decode()
    (entry,) = head_of(card)["model-index"][0]["results"]
    assert entry["dataset"] == {"name": "GLUE RTE", "type": "nyu-mll/glue", "config": "rte", "split": "validation"}
    assert entry["metrics"] == [{"type": "accuracy", "name": "validation/accuracy", "value": 0.5625}]
    assert "| accuracy, always the most frequent answer | 0.5271 |" in card
    assert "Labels: entailment, not_entailment." in card
    assert '"text_pair"' in card
    assert "--model.checkpoint pretrain/model" in card
    assert "alice" not in card.replace(runs.name, "alice" if str(runs) in card else ""), "somebody's path is told"


def test_a_shared_folder_is_used(runs: Path, tmp_path: Path) -> None:
    """Where the package is there as well; tests/hub/test_remote_code.py is about where it is not."""
    folder = tmp_path / "shared"
    assert share(runs / "pretrain", folder=str(folder)) == str(folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES
    (best, *_) = pipeline("fill-mask", model=str(folder), trust_remote_code=True)("A short [MASK].")
    assert best["token_str"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer(TEXTS[1] * 9, truncation=True)["input_ids"]) == 40
    with pytest.raises(ValueError, match="already and not empty"):
        share(runs / "pretrain", folder=str(folder))


def test_embeddings_are_the_masked_mean(runs: Path, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    share(runs / "pretrain", folder=str(tmp_path / "shared"))
    for folder in (tmp_path / "shared", tmp_path / "again"):
        embed = sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
        assert embed.max_seq_length == 40
        found = embed.encode(TEXTS, convert_to_tensor=True)
        model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = masked_mean(model(**batch).last_hidden_state, batch["attention_mask"])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        alone = torch.stack([embed.encode(text, convert_to_tensor=True) for text in TEXTS])
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
        embed.save(str(tmp_path / "again"))


def test_the_hub_gets_the_code_from_transformers_too(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, str] = {}

    class Api:
        def create_repo(self, name: str, **options: Any) -> Any:
            return type("Repository", (), {"repo_id": name})

        def create_commit(self, *, operations: list[Any], **options: Any) -> None:
            sent.update({entry.path_in_repo: Path(entry.path_or_fileobj).read_text("latin-1") for entry in operations})

    monkeypatch.setattr("transformers.utils.hub.hf_api", Api)
    AutoModel.from_pretrained(runs / "pretrain" / "model").push_to_hub("me/small")
    assert "class MetaFormerTextModel" in sent["modeling_metaformer_text.py"]
    assert "AutoModelForMaskedLM" in json.loads(sent["config.json"])["auto_map"]


@pytest.mark.parametrize(("more", "fits"), [("", True), ("build_norm = None", False)])
def test_a_mixer_of_the_users_own(runs: Path, tmp_path: Path, more: str, fits: bool) -> None:
    name = f"shared_own_{fits}"
    (tmp_path / f"{name}.py").write_text(
        f"from metaformer_nlp.core import TokenMixer, register_mixer\n{more}\n"
        f'@register_mixer("{name}")\nclass Own(TokenMixer):\n'
        "    def forward(self, x, segment_ids=None):\n        return x\n"
    )
    import_plugins([str(tmp_path / f"{name}.py")])
    config = MetaFormerTextConfig.from_pretrained(runs / "pretrain" / "model", token_mixer=name)
    shutil.copytree(runs / "pretrain" / "model", tmp_path / "model")
    MetaFormerTextForMaskedLM(config).save_pretrained(tmp_path / "model")
    try:
        if fits:
            share(tmp_path / "model", folder=str(tmp_path / "shared"))
            assert "class Own(TokenMixer)" in (tmp_path / "shared" / "modeling_metaformer_text.py").read_text()
        else:
            with pytest.raises(ValueError, match="build_norm is one thing in"):
                share(tmp_path / "model", repository="me/own", dry_run=True)
    finally:
        del MIXERS._entries[name]
    with pytest.raises(ValueError, match=rf"unknown token mixer '{name}'.*--plugins"):
        share(tmp_path / "model", repository="me/own")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (("tokenizer.json", "tokenizer_config.json"), "holds no tokenizer that can be read"),
        (("model.safetensors",), "no model.safetensors"),
        (("config.json",), "no saved model there"),
    ],
)
def test_what_a_folder_lacks_is_said(runs: Path, tmp_path: Path, gone: tuple[str, ...], message: str) -> None:
    shutil.copytree(runs / "pretrain" / "model", tmp_path / "model")
    for name in gone:
        (tmp_path / "model" / name).unlink()
    with pytest.raises(ValueError, match=message):
        share(tmp_path / "model", folder=str(tmp_path / "shared"))
    assert not (tmp_path / "shared").exists()


def test_nowhere_to_share_to(runs: Path) -> None:
    with pytest.raises(ValueError, match="give --repository"):
        share(runs / "pretrain")
    with pytest.raises(ValueError, match=r"give one of .*/glue/RTE$"):
        share(runs / "glue", dry_run=True)


def config_of(kind: str) -> MetaFormerTextConfig:
    return MetaFormerTextConfig(architectures=[f"MetaFormerText{kind}"])


def test_a_card_tells_only_what_is_known(runs: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(runs / "pretrain" / "model")
    for kind, example in (
        ("ForMaskedLM", "fill-mask"),
        ("ForTokenClassification", "token-classification"),
        ("ForMultipleChoice", "AutoModelForMultipleChoice"),
        ("Model", "feature-extraction"),
    ):
        card = text_card(config_of(kind), tokenizer)
        assert example in card
        assert "import metaformer_nlp" in card, "a model without its code"
        assert "trust_remote_code" not in card
        assert "## Results" not in card
        assert "## Training" not in card
        assert "None" not in card
    hub = text_card(
        config_of("ForMaskedLM"), tokenizer, settings={"data": {"text": ["hub:me/words", "/home/al/en/*.txt"]}}
    )
    assert "| me/words, en/*.txt |" in hub
    with pytest.raises(ValueError, match="a text model ends with"):
        text_card(MetaFormerTextConfig(architectures=["ForSomething"]), tokenizer)


def test_a_command_in_a_card_can_be_pasted() -> None:
    words = ["/home/me/checkout/scripts/pretrain_text.py", "--config", "scripts/recipes/pretrain/tiny.yaml"]
    words += ["--plugins", "[/home/me/a.py, ../b.py]", "--data.text=hub:allenai/c4:en", "--data.root", "~/glue"]
    found = sharing._command({"starts": [{"command": words}]})
    assert found == [
        "python", "scripts/pretrain_text.py", "--config", "scripts/recipes/pretrain/tiny.yaml",
        "--plugins", "'[a.py, b.py]'", "--data.text=hub:allenai/c4:en", "--data.root", "glue",
    ]  # fmt: skip
    words = ["metaformer train_vision", "--config", "recipe:imagenet/caformer"]
    assert sharing._command({"starts": [{"command": words}]}) == ["metaformer", "train_vision", *words[1:]]
