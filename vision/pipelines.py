"""The image pipelines of transformers read a file as training does, where the model's image processor is ours.

transformers' own read it first (`load_image`: turned as its EXIF entry says, transparency dropped, 16 bits cut off) and
show the processor what is left. For all other models nothing changes.
"""

from typing import Any

from transformers.pipelines.image_classification import ImageClassificationPipeline
from transformers.pipelines.image_feature_extraction import ImageFeatureExtractionPipeline

from vision.processing import MetaFormerImageProcessor

__all__ = ["PIPELINES", "MetaFormerClassificationPipeline", "MetaFormerFeaturePipeline"]


class _ReadsFiles:
    """Hands files to the image processor unread."""

    image_processor: Any
    dtype: Any

    def preprocess(self, image: Any, timeout: float | None = None, **options: Any) -> Any:
        """The model's input for one picture, path or URL."""
        if not isinstance(self.image_processor, MetaFormerImageProcessor):
            return super().preprocess(image, timeout=timeout, **options)  # type: ignore[misc]
        return self.image_processor(image, return_tensors="pt", **options).to(self.dtype)


class MetaFormerClassificationPipeline(_ReadsFiles, ImageClassificationPipeline):  # type: ignore[misc]
    """`pipeline("image-classification")`."""


class MetaFormerFeaturePipeline(_ReadsFiles, ImageFeatureExtractionPipeline):  # type: ignore[misc]
    """`pipeline("image-feature-extraction")`."""


PIPELINES: dict[str, type] = {
    "image-classification": MetaFormerClassificationPipeline,
    "image-feature-extraction": MetaFormerFeaturePipeline,
}
"""Task of transformers -> the pipeline that takes the place of its own."""
