"""Option groups of the exports and of sharing, without the libraries that do it."""

from dataclasses import dataclass, field

__all__ = ["ImageExportConfig", "SharingConfig", "TextExportConfig"]


@dataclass(frozen=True)
class ImageExportConfig:
    """Export a trained image classifier or segmenter."""

    checkpoint: str
    """A run folder or a folder of save_pretrained; a classifier also as a published weight file, or NAME=FILE, as for
    evaluate_vision.py."""
    output: str | list[str]
    """Files to write, separated by commas: .pt2 is torch.export's program, .onnx is ONNX."""
    image_size: int | None = None
    """Pixels of the side; null: the model's own, of a segmenter its short side. The program takes this size only."""
    opset: int = 18
    """ONNX: version of the operators; 18 or above, as far as the installed torch knows them."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


@dataclass(frozen=True)
class TextExportConfig:
    """Export a trained text model."""

    model: str
    """A folder of save_pretrained with its tokenizer, such as runs/glue/RTE/model."""
    output: str | list[str]
    """Files to write, separated by commas: .pt2 is torch.export's program, .onnx is ONNX."""
    opset: int = 18
    """ONNX: version of the operators; 18 or above, as far as the installed torch knows them."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


@dataclass(frozen=True)
class SharingConfig:
    """Share a trained image or text model."""

    model: str
    """A run folder (its model/ is shared, the card tells its results and settings), its model-best/, the folder of a
    GLUE task in its run, or a folder of save_pretrained."""
    repository: str | None = None
    """Where to: USER/MODEL on the hub. null: nowhere."""
    folder: str | None = None
    """Write what is shared into this new folder. Classifiers and text models open without this project, by
    trust_remote_code=True."""
    space: str | None = None
    """Write into this new folder a Hugging Face Space: a page on which the model can be tried, with all that it needs.
    By itself: neither sent nor together with the two above."""
    private: bool = False
    """true: only you and those you invite see it."""
    dry_run: bool = False
    """true: show the model card and the files, and neither send nor write anything."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer; what the model uses of them
    becomes part of its code."""
