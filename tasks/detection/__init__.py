"""Object detection and instance segmentation: RetinaNet and Mask R-CNN on COCO, or on embedded scenes."""
