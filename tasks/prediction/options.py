"""Options of predictions on picture files, without the libraries that make them."""

from dataclasses import dataclass, field

__all__ = ["PredictionConfig"]


@dataclass(frozen=True)
class PredictionConfig:
    """Classes, boxes and masks, or a label map of picture files, whatever the model predicts."""

    pictures: str | list[str]
    """Picture files and folders of them, separated by commas."""
    model: str
    """Run folder or folder of save_pretrained of a classifier, detector or segmenter; a classifier also NAME=FILE."""
    output: str = "predictions"
    """Folder for <picture>.png, in which the prediction is drawn, and <picture>.json; of a segmenter also
    <picture>.labels.png, whose pixels are the numbers of the classes."""
    threshold: float = 0.5
    """Detectors: objects with a lower score are left out."""
    top: int = 5
    """Classifiers: so many of the likeliest classes."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}: must lie between 0 and 1")
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1")
