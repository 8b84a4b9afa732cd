"""Export, Grad-CAM, model cards and sharing, on a run folder as training leaves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, TimmWrapperConfig, pipeline

from metaformer_nlp.config.command_line import from_dict
from tasks.export import images as image_export
from tasks.export import program as export
from tasks.export import share as sharing
from tasks.images import classification as image_classification
from tasks.images import explain as explanation
from tasks.images.card import image_card
from tasks.images.checkpoints import eval_transform, open_checkpoint
from vision import create_model, preprocessing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``run``: a finished training run of four steps on ``images``, which are red or green on one side."""
    root = tmp_path_factory.mktemp("tools")
    for number in range(30):
        name = ("green", "red")[number % 2]
        pixels = np.random.default_rng(number).integers(0, 90, (40, 48, 3), dtype=np.uint8)
        pixels[:, :24, 1 - number % 2] = 255
        place = root / "images" / name
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    values = {
        "run.folder": str(root / "run"), "run.batch_size": 9, "schedule.steps": 4, "data.name": "folder",
        "data.root": str(root / "images"), "data.augment.recipe": "none", "model.name": "poolformer_nano",
        "model.initializer_range": 0.2, "optim.lr": 1e-3,
    }  # fmt: skip
    image_classification.run(from_dict(image_classification.Config, values))
    return root


def test_a_run_opens_with_transformers(folder: Path) -> None:
    """What the pipeline sees and says is what training's evaluation saw and would say."""
    picture = Image.open(folder / "images" / "red" / "01.png")
    model = AutoModelForImageClassification.from_pretrained(folder / "run" / "model").eval()
    ours = eval_transform(preprocessing(model), "run")(picture)
    theirs = AutoImageProcessor.from_pretrained(folder / "run" / "model")(picture, return_tensors="pt")["pixel_values"]
    assert theirs.shape == (1, 3, 32, 32)
    assert (theirs[0] - ours).abs().mean() < 0.02  # torchvision's resizing of bytes is not Pillow's to the last bit
    said = pipeline("image-classification", model=str(folder / "run" / "model"))(picture)
    with torch.no_grad():
        shares = model(pixel_values=ours[None]).logits.softmax(-1)[0]
    assert {entry["label"] for entry in said} == {"green", "red"}
    assert said[0]["label"] == model.config.id2label[int(shares.argmax())]
    assert said[0]["score"] == pytest.approx(float(shares.max()), abs=0.02)


def export_config(folder: Path, output: str, **options: Any) -> image_export.Config:
    return from_dict(image_export.Config, {"checkpoint": str(folder / "run"), "output": output, **options})


def test_exported_torch_program(folder: Path, tmp_path: Path) -> None:
    found = image_export.run(export_config(folder, str(tmp_path / "a.pt2")))
    assert found[str(tmp_path / "a.pt2")] < 1e-5
    program, model = torch.export.load(tmp_path / "a.pt2").module(), open_checkpoint(str(folder / "run"))
    pixels = torch.randn(7, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(program(pixel_values=pixels), model(pixel_values=pixels).logits, atol=1e-5)
    beside = json.loads((tmp_path / "a.json").read_text())
    assert beside["classes"] == ["green", "red"]
    assert beside["preprocessing"]["image_size"] == [32, 32]


def test_exported_onnx(folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=r"opset 3: torch .* writes 18 instead"):
        image_export.run(export_config(folder, str(tmp_path / "a.onnx"), opset=3))
    assert list(tmp_path.iterdir()) == []
    image_export.run(export_config(folder, str(tmp_path / "a.onnx"), image_size=48))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"], "weights lie outside the file"
    pixels = torch.randn(3, 3, 48, 48)
    (logits,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"pixel_values": pixels.numpy()})
    with torch.no_grad():
        expected = open_checkpoint(str(folder / "run"), 48)(pixel_values=pixels).logits
    assert np.allclose(logits, expected.numpy(), atol=1e-4)


def test_a_wrong_export_is_noticed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = image_export.exportable(open_checkpoint(str(folder / "run")), 32, {})
    with pytest.raises(ValueError, match="differs from the model by 1 "):
        export.difference(lambda inputs: (model(inputs)[0] + 1.0,), model)
    with pytest.raises(ValueError, match=r"must end with \.pt2 or \.onnx"):
        image_export.run(export_config(folder, str(tmp_path / "a.pt")))
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"metaformer-nlp\[export\]"):
        image_export.run(export_config(folder, str(tmp_path / "a.onnx")))


def explain(folder: Path, **options: Any) -> None:
    values = {"checkpoint": str(folder / "run"), "images": str(folder / "images" / "red"), **options}
    explanation.run(from_dict(explanation.Config, values))


def test_heat_map_is_grad_cam(folder: Path) -> None:
    """Against the formula: channels weighted by their mean gradient, positive part, scaled to 0..1."""
    pytest.importorskip("pytorch_grad_cam")
    model, pixels = open_checkpoint(str(folder / "run")), torch.randn(3, 32, 32)
    kept: list[torch.Tensor] = []
    stage = model.get_submodule("metaformer.stages.1")
    handle = stage.register_forward_hook(lambda module, args, output: kept.append(output))
    logits = model(pixel_values=pixels[None]).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 1], kept)
    expected = (kept[0] * gradient.mean((2, 3), keepdim=True)).sum(1)[0].relu().detach()
    found = explanation.heat_map(model, pixels, 1, "metaformer.stages.1")
    assert found.shape == (32, 32)
    assert found.min() == 0
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(found)[None], expected.shape)[0]
    assert np.corrcoef(small.flatten(), expected.flatten())[0, 1] > 0.95


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_mixer"])
def test_heat_maps_of_timms_models(name: str) -> None:
    pytest.importorskip("pytorch_grad_cam")
    name = {"test_mixer": "mixer_s32_224"}.get(name, name)
    model = create_model(f"timm/{name}", num_labels=5).eval()
    with torch.no_grad():
        for parameter in model.timm_model.get_classifier().parameters():
            parameter.normal_()  # some start at zero, and then nothing has a gradient
    size = preprocessing(model).image_size[0]
    pixels = torch.randn(3, size, size)
    found = [explanation.heat_map(model, pixels, target) for target in range(5)]
    assert all(heat.shape == (size, size) for heat in found)
    assert max(heat.max() for heat in found) > 0.5  # where nothing speaks for a class, its map is 0
    assert max(heat.std() for heat in found) > 0


def test_pictures(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pytorch_grad_cam")
    output = tmp_path / "new" / "cam.png"
    images = ",".join(str(folder / "images" / name) for name in ("red/01.png", "green/00.png"))
    explain(folder, checkpoint=f"{folder / 'run'},{folder / 'run' / 'model'}", images=images, output=str(output))
    with Image.open(output) as picture:
        assert picture.width > picture.height > 300


def test_what_is_wrong_with_an_explanation_is_said(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "empty").mkdir()
    for options, message in (
        ({"images": "nowhere.jpg"}, "no such file or folder"),
        ({"images": str(tmp_path / "empty")}, "no image files"),
        ({"output": "cam.txt"}, "must end with"),
        ({"target": "blue"}, "no class of this model, which has 2, such as green, red"),
        ({"layer": "metaformer.stages.9"}, "layer metaformer.stages.9"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(folder, **options)
    monkeypatch.setattr(explanation, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"metaformer-nlp\[explain\]"):
        explain(folder)


class Hub:
    """Keeps what it is sent, in place of huggingface_hub.HfApi."""

    def __init__(self) -> None:
        self.created: list[tuple[str, bool]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.created.append((name, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


def share(folder: Path, hub: Any, **options: Any) -> str:
    return sharing.run(
        from_dict(sharing.Config, {"model": str(folder / "run"), "repository": "me/red", **options}), hub
    )


def test_a_run_is_shared(folder: Path, tmp_path: Path) -> None:
    hub = Hub()
    assert share(folder, hub, private=True) == "https://huggingface.co/me/red"
    assert hub.created == [("me/red", True)]
    code = "modeling_metaformer_vision.py"
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", code}
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    assert AutoModelForImageClassification.from_pretrained(tmp_path).config.id2label == {0: "green", 1: "red"}
    card = hub.files["README.md"].decode()
    head = yaml.safe_load(card.split("---")[1])
    accuracy = json.loads((folder / "run" / "result.json").read_text())["metrics"]["validation/accuracy"]
    (entry,) = head["model-index"][0]["results"][0]["metrics"]
    assert entry == {"type": "accuracy", "name": "validation/accuracy", "value": round(100 * accuracy, 3)}
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "folder (images)"
    assert 'model="me/red", trust_remote_code=True)' in card
    assert "Classes: green, red." in card
    assert str(folder) not in card, "somebody's path is told"


def test_a_card_tells_no_folders() -> None:
    words = [
        "/home/alice/train.py", "--data.root=/home/alice=x/images", "--model.checkpoint=~/w.pth", "--run.folder",
        "runs/alice/s12", "--data.class_file=lists/alice.txt", "--model.name=timm/resmlp_12_224", "--optim.lr=1e-3",
    ]  # fmt: skip
    told = (
        "python train.py --data.root=images --model.checkpoint=w.pth --run.folder s12 --data.class_file=alice.txt "
        "--model.name=timm/resmlp_12_224 --optim.lr=1e-3"
    )
    found = sharing._command({"starts": [{"command": words}]})
    assert found is not None
    assert " ".join(found) == told


def test_the_best_model_is_shared_with_its_results(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    shutil.copytree(run / "model", run / "model-best")
    result = json.loads((run / "result.json").read_text())
    result["best"] = {"step": result["train"]["steps"] // 2, "validation/accuracy": 0.123}
    (run / "result.json").write_text(json.dumps(result))
    hub = Hub()
    share(run, hub, model=str(run / "model-best"))
    best = hub.files["README.md"].decode()
    assert "| validation/accuracy | 12.30 % |" in best
    assert "validation/loss" not in best, "that is the last model's"
    assert f"{result['train']['epochs'] / 2:.4g} (2 steps)" in best
    assert "folder (images)" in best
    share(run, hub, model=str(run / "model"))
    inner = hub.files["README.md"]
    share(run, hub, model=str(run))
    assert hub.files["README.md"] == inner
    assert f"{100 * result['metrics']['validation/accuracy']:.2f} %" in inner.decode()


def test_a_card_tells_what_was_used() -> None:
    model, settings = create_model("poolformer_nano").config, {"run": {"batch_size": 1024}, "optim": {"lr": 1e-3}}
    plain = image_card(model, settings=settings)
    assert "| Batch | 1024 |" in plain
    assert "| Learning rate | 0.001 |" in plain
    for scaled in ({"optim": {"lr": 1e-3, "lr_batch_size": 1024}}, {"run": {"batch_size": 1024, "fit_batch": True}}):
        card = image_card(model, settings={**settings, **scaled})
        assert "| Batch" not in card
        assert "| Learning rate" not in card
        card = image_card(model, {"batch_size": 90, "lr": 8.79e-5}, {**settings, **scaled})
        assert "| Batch | 90 |" in card
        assert "| Learning rate | 8.79e-05 |" in card


def test_dry_run_sends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = Hub()
    share(folder, hub, dry_run=True)
    assert (hub.created, hub.files) == ([], {})
    assert "pipeline_tag: image-classification" in capsys.readouterr().out


def test_what_is_wrong_with_sharing_is_said(folder: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano").metaformer.save_pretrained(tmp_path / "trunk")

    class Offline(Hub):
        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
            raise ConnectionError("no network")

    for options, hub, message in (
        ({"model": "nowhere"}, Hub(), "no such folder"),
        ({"model": str(folder / "images")}, Hub(), "no saved model there"),
        ({"model": str(tmp_path / "trunk")}, Hub(), "no image classifier"),
        ({"repository": "me/a b"}, Hub(), "repository me/a b"),
        ({}, Offline(), "no network"),
    ):
        with pytest.raises(ValueError, match=message):
            share(folder, hub, **options)


def test_a_card_tells_only_what_is_known() -> None:
    ours, theirs = create_model("poolformer_nano").config, create_model("timm/test_vit").config
    assert isinstance(theirs, TimmWrapperConfig)
    for config, tag in ((ours, "metaformer"), (theirs, "timm")):
        card = image_card(config)
        assert tag in yaml.safe_load(card.split("---")[1])["tags"]
        assert "## Results" not in card
        assert "## Training" not in card
        assert "None" not in card
