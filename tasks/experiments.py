"""The names that study files call the experiments of this project by."""

EXPERIMENTS = {
    "image_classification": "tasks.image_classification",
    "masked_image_modeling": "tasks.masked_image_modeling",
    "masked_lm": "tasks.masked_lm",
    "glue": "tasks.glue_finetuning",
    "probes_images": "tasks.image_probes",
    "probes_text": "tasks.text_probes",
}
"""Name -> the module. Modules are what cells are known by: one that is run again is found under either."""
