"""Semantic segmentation: ADE20K, folders of its layout, and the embedded scenes."""
