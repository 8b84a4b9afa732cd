"""Share a trained image or text model on the Hugging Face hub, with a model card filled from its run.

    python scripts/share_model.py --model runs/s12 --repository me/poolformer-s12 --dry_run true
    python scripts/share_model.py --model runs/s12 --repository me/poolformer-s12
    python scripts/share_model.py --model runs/glue_tiny/SST-2 --folder shared/sst2
    python scripts/share_model.py --model runs/s12 --space spaces/s12

The first command shows what would be sent, the third writes it into a folder. The last writes a Hugging Face Space, a
page on which the model can be tried, which runs as it is: `pip install -r requirements.txt && python app.py`.
Classifiers and text models open without this project (`trust_remote_code=True`), text also with sentence-transformers;
detectors and segmenters need it. Log in once with `hf auth login`.
"""

from metaformer_nlp.config.command_line import main
from tasks.export.options import SharingConfig

if __name__ == "__main__":
    main(SharingConfig, "tasks.export.share:run", __doc__)
