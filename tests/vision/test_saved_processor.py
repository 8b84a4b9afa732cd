"""What evaluation sees of a file and what the saved image processor makes of it are equal to the bit.

Walks over all kinds of pictures, with one and with three channels, through the Auto class and through the pipelines.
"""

from __future__ import annotations

import base64
import functools
import http.server
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, BaseImageProcessor
from transformers.models.poolformer.image_processing_pil_poolformer import PoolFormerImageProcessorPil
from transformers.models.poolformer.image_processing_poolformer import PoolFormerImageProcessor

import vision
from tests.tasks.images.test_kinds import GOOD, encode
from vision.images import BadImage, load_rgb
from vision.pixels import EvalTransform
from vision.processing import IMAGE_PROCESSORS, image_processor, preprocessing

ROOT = Path(__file__).parents[2]
NOISE = np.random.default_rng(0).integers(0, 256, (90, 70, 4), dtype=np.uint8)


def noise(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    picture = Image.fromarray(NOISE)
    return picture if mode == "RGBA" else picture.convert("RGB").convert(mode)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(noise("RGB"), "JPEG", exif=exif)


def sized(width: int, height: int) -> bytes:
    return encode(Image.fromarray(np.resize(NOISE[..., :3], (height, width, 3))), "PNG")


KINDS = {
    **{name: data for name, (data, _) in GOOD.items()},
    **{f"noise {mode}": encode(noise(mode), "PNG") for mode in ("RGB", "RGBA", "L", "1", "P", "I;16")},
    "noise LA": encode(noise("RGBA").convert("LA"), "PNG"),
    "noise CMYK": encode(noise("CMYK"), "TIFF"),
    "noise P with a clear colour": encode(noise("P"), "PNG", transparency=3),
    "noise RGB with a clear colour": encode(noise("RGB"), "PNG", transparency=tuple(map(int, NOISE[0, 0, :3]))),
    **{f"turned {orientation}": turned(orientation) for orientation in (3, 6, 7)},
    **{f"{w} x {h}": sized(w, h) for w, h in ((1, 1), (2, 3), (3, 200), (1, 5000), (4000, 3), (32, 32), (35, 35))},
}


def saved(folder: Path, **options: object) -> tuple[BaseImageProcessor, EvalTransform]:
    """A saved model's image processor, opened again, and what evaluation does."""
    config = vision.create_config("poolformer_nano", num_labels=3, image_size=32, **options)
    config.save_pretrained(folder)
    image_processor(config).save_pretrained(folder)
    seen = preprocessing(config)
    transform = EvalTransform(seen.image_size[0], seen.crop_pct, seen.interpolation, seen.mean, seen.std)
    return AutoImageProcessor.from_pretrained(folder), transform


@pytest.mark.parametrize("channels", [1, 3])
def test_the_saved_processor_sees_what_evaluation_sees(channels: int, tmp_path: Path) -> None:
    processor, transform = saved(tmp_path, num_channels=channels, crop_pct=0.9)
    file = tmp_path / "picture"
    for name, data in KINDS.items():
        file.write_bytes(data)
        expected = transform(load_rgb(file))
        assert expected.shape == (channels, 32, 32)
        ways = {
            "path": str(file),
            "Path": file,
            "picture": Image.open(file),
            "base64": base64.b64encode(data).decode(),
            "array": np.asarray(load_rgb(file)),
        }
        if load_rgb(file).height in (1, 3):
            del ways["array"]  # its rows may be channels, too
        for way, given in ways.items():
            pixels = processor(given, return_tensors="pt")["pixel_values"]
            assert torch.equal(pixels[0], expected), (name, way)
    both = processor([str(file), file], return_tensors="pt")["pixel_values"]
    assert both.shape == (2, channels, 32, 32)


def test_a_picture_at_a_url(tmp_path: Path) -> None:
    processor, transform = saved(tmp_path)
    file = tmp_path / "picture"
    file.write_bytes(next(iter(KINDS.values())))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/picture"
        pixels = processor(url, return_tensors="pt")["pixel_values"]
        server.shutdown()
    assert torch.equal(pixels[0], transform(load_rgb(file)))


@pytest.mark.parametrize("backend", [name for name in IMAGE_PROCESSORS if name != "poolformer"])
def test_every_backend_sees_the_same(backend: str, tmp_path: Path) -> None:
    processor, transform = saved(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    (tmp_path / "picture").write_bytes(KINDS["noise RGBA"])
    pixels = again(tmp_path / "picture", return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels[0], transform(load_rgb(tmp_path / "picture")))
    again.save_pretrained(tmp_path / "again")
    assert AutoImageProcessor.from_pretrained(tmp_path / "again").to_dict() == processor.to_dict()


def test_exif_is_followed_where_training_did(tmp_path: Path) -> None:
    config = vision.create_config("poolformer_nano", num_labels=3, image_size=32)
    image_processor(config, apply_exif=True).save_pretrained(tmp_path)
    (tmp_path / "picture").write_bytes(turned(6))
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(tmp_path / "picture", return_tensors="pt")["pixel_values"]
    crop = preprocessing(config).crop_pct
    assert torch.equal(pixels[0], EvalTransform(32, crop)(load_rgb(tmp_path / "picture", apply_exif=True)))
    assert not torch.equal(pixels[0], EvalTransform(32, crop)(load_rgb(tmp_path / "picture")))


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    processor, _ = saved(tmp_path)
    (tmp_path / "text").write_text("no picture")
    for path, why in ((tmp_path / "text", "not an image"), (tmp_path / "nowhere.png", "cannot be read")):
        with pytest.raises(BadImage, match=rf"{path.name}.*{why}"):
            processor(str(path))


def test_a_saved_poolformer_of_transformers_opens_as_that(tmp_path: Path) -> None:
    PoolFormerImageProcessor().save_pretrained(tmp_path)
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is PoolFormerImageProcessor
    assert type(AutoImageProcessor.from_pretrained(tmp_path, backend="pil")) is PoolFormerImageProcessorPil
    saved(tmp_path / "ours")
    theirs = PoolFormerImageProcessor.from_pretrained(tmp_path / "ours")  # where this package is not installed
    assert theirs(noise("RGB"), return_tensors="pt")["pixel_values"].shape == (1, 3, 32, 32)


def test_two_channels_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="num_channels 2: a picture becomes one channel"):
        image_processor(vision.create_config("poolformer_nano", num_labels=3, num_channels=2))


PROGRAM = """
import sys
from pathlib import Path
import torch
from PIL import Image
import vision
from transformers import AutoModel, AutoModelForImageClassification, pipeline
from vision.images import load_rgb
from vision.pixels import EvalTransform
from vision.processing import preprocessing

for folder in sorted(Path(sys.argv[1]).glob("model-*")):
    classify = pipeline("image-classification", str(folder), top_k=None)
    extract = pipeline("image-feature-extraction", str(folder))
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    trunk = AutoModel.from_pretrained(folder).eval()
    seen = preprocessing(model)
    transform = EvalTransform(seen.image_size[0], seen.crop_pct, seen.interpolation, seen.mean, seen.std)
    for picture in sorted(Path(sys.argv[1]).glob("picture-*")):
        pixels = transform(load_rgb(picture))[None]
        with torch.no_grad():
            scores = model(pixels).logits.softmax(-1)[0]
            features = trunk(pixels)[0]
        for given in (str(picture), Image.open(picture)):
            found = {row["label"]: row["score"] for row in classify(given)}
            for number, name in model.config.id2label.items():
                assert abs(found[name] - scores[number].item()) < 1e-5, (folder, picture, found, scores)
            torch.testing.assert_close(torch.tensor(extract(given)), features, atol=1e-4, rtol=1e-4)
    print(folder.name)
"""


@pytest.mark.slow
def test_saved_folders_run_through_their_pipelines_in_a_fresh_process(tmp_path: Path) -> None:
    """The hardest pictures, one channel and three, the classifier and the trunk of masked image modelling."""
    rows = {
        "model-grey": vision.create_model("poolformer_nano", num_labels=3, num_channels=1, initializer_range=0.3),
        "model-rgb": vision.create_model("poolformer_nano", num_labels=3, initializer_range=0.3),
    }
    for name, model in rows.items():
        model.save_pretrained(tmp_path / name)
        image_processor(model.config).save_pretrained(tmp_path / name)
    assert len(vision.MetaFormerVisionConfig.auto_classes) == 5, "a new kind of model: try its pipeline here"
    for name in ("noise RGBA", "noise I;16", "turned 6", "1 x 5000", "noise P with a clear colour", "1 x 1"):
        (tmp_path / f"picture-{name}").write_bytes(KINDS[name])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == sorted(rows)


STRIP = """
import resource, sys
import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
import vision
from vision.images import load_rgb
from vision.options import AugmentConfig
from vision.transforms import EvalTransform, train_transform

folder = sys.argv[1]
processor = AutoImageProcessor.from_pretrained(folder)
transforms = [EvalTransform(224, 0.9), *(train_transform(224, AugmentConfig(recipe=r)) for r in ("small", "imagenet"))]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for transform in transforms:  # what they hold anyway
    transform(Image.new("RGB", (224, 224)), np.random.default_rng(0))
before = peak()
for size in ((1, 20_000), (20_000, 1), (3, 60_000), (60_000, 2)):
    Image.new("RGB", size).save(folder + "/strip.png")
    for transform in transforms:
        assert transform(load_rgb(folder + "/strip.png"), np.random.default_rng(0)).shape == (3, 224, 224)
    processor(folder + "/strip.png")
    processor(folder + "/strip.png", do_normalize=False)
print((peak() - before) // 1024)
"""


def test_a_strip_takes_no_memory(tmp_path: Path) -> None:
    """Evaluation, training and the image processor, the process's peak in MiB; it was 5000."""
    saved(tmp_path, crop_pct=0.9)
    done = subprocess.run(
        [sys.executable, "-c", STRIP, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) < 200


def test_a_strip_is_seen_as_if_it_were_enlarged_as_a_whole() -> None:
    """Of ordinary pictures nothing is cut off; of a strip, what the crop does not see."""
    from vision.pixels import MAX_ASPECT, middle, resize_and_crop

    rng = np.random.default_rng(0)
    ordinary = rng.integers(0, 256, (MAX_ASPECT * 5, 5, 3), dtype=np.uint8)
    assert middle(ordinary) is ordinary
    for length in (700, 701):
        strip = Image.fromarray(rng.integers(0, 256, (length, 8, 3), dtype=np.uint8))
        whole = strip.resize((32, length * 4), Image.Resampling.BICUBIC)
        top = round((length * 4 - 32) / 2)
        expected = np.asarray(whole.crop((0, top, 32, top + 32)), dtype=int)
        assert np.abs(np.asarray(resize_and_crop(strip, 32), dtype=int) - expected).max() <= 1


def test_a_deep_picture_is_scaled_in_place() -> None:
    values = np.array([[0, 1, 128, 129, 257, 32767, 65534, 65535]], np.uint16)
    expected = (values.astype(np.int64) * 255 + 32767) // 65535
    assert np.array_equal(np.asarray(load_rgb(encode(Image.fromarray(values), "PNG")))[..., 0], expected)
    beyond = Image.fromarray(np.array([[-5, 70_000]], np.int32))
    buffer = io.BytesIO()
    beyond.save(buffer, "TIFF")
    assert np.asarray(load_rgb(buffer.getvalue()))[0, :, 0].tolist() == [0, 255]
