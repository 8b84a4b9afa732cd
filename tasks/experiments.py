"""The names that study files call the experiments of this project by. Imports none of them."""

EXPERIMENTS = {
    "image_classification": "tasks.images.classification",
    "masked_image_modeling": "tasks.images.simmim",
    "masked_lm": "tasks.text.masked_lm",
    "glue": "tasks.glue.finetuning",
    "squad": "tasks.squad.finetuning",
    "probes_images": "tasks.probes.images",
    "probes_text": "tasks.probes.text",
    "detection": "tasks.detection.detection",
    "segmentation": "tasks.segmentation.segmentation",
}
"""Name -> the module that defines ``Config`` and ``run``."""

FORMER_NAMES = {
    "tasks.image_classification": "image_classification",
    "tasks.masked_image_modeling": "masked_image_modeling",
    "tasks.masked_lm": "masked_lm",
    "tasks.glue_finetuning": "glue",
    "tasks.image_probes": "probes_images",
    "tasks.text_probes": "probes_text",
}
"""How study files named them before. Cells are hashed by these, so that runs which finished then still count."""
