"""The gallery's table: each script with the command that is run, and the picture that it makes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENTRIES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """A script's place in the gallery."""

    script: str
    shows: str
    """A sentence."""
    command: str
    """Its options."""
    picture: str | None = None
    """A file in the working folder."""
    sees: str = ""
    """What is seen in the picture."""
    head: int = 8
    tail: int = 14
    """So many lines of the output are kept at its beginning and its end."""
    address: str | None = None
    """A page that the script serves: once it answers, a browser takes its picture and the script is stopped."""


ENTRIES = (
    Entry(
        "train_vision.py",
        "A classifier of scanned digits on cluttered canvases; the data is embedded.",
        "--config recipe:digits --schedule.epochs 30",
    ),
    Entry("evaluate_vision.py", "The accuracy of that classifier.", "--checkpoint runs/digits"),
    Entry(
        "explain.py",
        "Where that classifier looks: Grad-CAM over the validation digits.",
        "--checkpoint runs/digits --images digits/ --layer metaformer.stages.1 --output looks.png",
        "looks.png",
        "Digits on cluttered canvases, and beside each the same picture with the places that the classifier looks at",
    ),
    Entry(
        "export_vision.py",
        "The classifier as a program of torch.export and as ONNX, each run and compared.",
        "--checkpoint runs/digits --output digits.pt2,digits.onnx",
    ),
    Entry(
        "share_model.py",
        "The classifier with its code and its card, as it would lie on the hub.",
        "--model runs/digits --folder shared/digits",
    ),
    Entry(
        "pretrain_vision.py",
        "Pre-training without labels on CIFAR-10 (JPEG copy): hidden patches are painted in.",
        "--config recipe:transfer/simmim_cifar10 --data.root data/cifar10 --schedule.epochs null --schedule.steps 30 "
        "--run.log_every 10 --run.eval_every null --run.batch_size 32",
    ),
    Entry(
        "train_detection.py",
        "A detector of digits in scenes; the data is embedded.",
        "--config recipe:scenes_retinanet --data.scenes.eval_scenes 30",
    ),
    Entry(
        "evaluate_detection.py",
        "COCO's twelve numbers of that detector, and what it found, drawn.",
        "--checkpoint runs/scenes_retinanet --output runs/found --pictures 3 --data.scenes.eval_scenes 30",
        "runs/found/pictures/2.png",
        "A scene with the digit 6 over rectangles; a box around it says 6 with the score 0.84",
        tail=18,
    ),
    Entry(
        "predict.py",
        "Predictions on picture files: here the detector on three scenes.",
        "scenes/ --model runs/scenes_retinanet --output predictions",
        "predictions/2.png",
        "A scene with the digits 2 and 3; a box around the 2 says 2 with the score 0.59",
    ),
    Entry(
        "train_segmentation.py",
        "A segmenter of the same scenes.",
        "--config recipe:scenes_segmentation --schedule.steps 700 --data.scenes.eval_scenes 30",
    ),
    Entry(
        "evaluate_segmentation.py",
        "Its mean IoU, and the label maps of a segmenter that has seen a quarter of its training.",
        "--checkpoint runs/scenes_segmentation --pictures runs/maps --data.scenes.eval_scenes 30",
        "runs/maps/00001.png",
        "A scene with digits, its label map, and the label map that the segmenter gives",
        tail=18,
    ),
    Entry(
        "verify_data.py",
        "Every picture of a data set is read before a run.",
        "--data.name coco --data.root data/coco_tiny",
    ),
    Entry(
        "train_tokenizer.py",
        "A tokenizer from English that is embedded.",
        "--folder runs/tokenizer --vocab_size 2000",
    ),
    Entry(
        "pretrain_text.py",
        "A masked language model of the same English.",
        "--config recipe:pretrain_tiny --schedule.steps 300 --run.eval_every null",
    ),
    Entry(
        "evaluate_text.py",
        "Its masked loss and pseudo-perplexity on text that was held out.",
        "--model runs/pretrain_tiny --data.held_out 0.002",
    ),
    Entry(
        "finetune_glue.py",
        "A task of the embedded suite, from scratch.",
        "--config recipe:suite --data.tasks topic --schedule.steps 150 --run.eval_every null",
    ),
    Entry("evaluate_glue.py", "The table of these runs.", "--runs runs/suite"),
    Entry(
        "finetune_squad.py",
        "Question answering in SQuAD's layout, on a file of a few questions about numbers.",
        "--config recipe:squad --data.train squad.json --data.validation squad.json --run.batch_size 16 "
        "--model.checkpoint runs/pretrain_tiny/model --data.max_length 64 --data.overlap 16 --optim.lr 2e-3",
    ),
    Entry(
        "make_order_task.py",
        "The task “were two neighbouring words swapped?” from any text.",
        "--folder runs/order --data.text data/corpus/wikitext2-valid.parquet",
    ),
    Entry(
        "export_text.py",
        "A fine-tuned text model as a program of torch.export, run and compared.",
        "--model runs/suite/topic/model --output topic.pt2",
    ),
    Entry(
        "run_study.py",
        "The report of the quick study, made again from its numbers; “run” makes it from the study file.",
        "report docs/results/quick --output runs/quick",
        "runs/quick/plots/first.png",
        "How many points each mixer and each missing part lies below pooling, in digits and in the order of words",
    ),
    Entry(
        "simulate_verdicts.py",
        "How often the rules of a verdict go wrong in worlds of known truth.",
        "--studies 1000",
    ),
    Entry(
        "match_cost.py",
        "Text models that cost what a reference costs.",
        "--mixers pooling,fourier --equal parameters",
        head=30,
    ),
    Entry(
        "benchmark.py",
        "Image models beside timm's and transformers', taking turns.",
        "--models poolformer_s12,timm/poolformer_s12,transformers/poolformer_s12 --batch_size 2 --rounds 3 --steps 1 "
        "--warmup 1 --threads 1",
    ),
    Entry(
        "benchmark_text.py",
        "Text encoders beside BERT and FNet.",
        "--models pooling,transformers/bert,transformers/fnet --shapes 2x128 --num_hidden_layers 4 --rounds 3 "
        "--steps 1 --warmup 1 --threads 1",
    ),
    Entry(
        "benchmark_loop.py",
        "What a training step takes beside forward pass, backward pass and optimizer; beside it transformers' Trainer.",
        "--threads 1 --steps 20",
    ),
    Entry(
        "benchmark_packing.py",
        "Packed rows beside padded rows.",
        "--models pooling --examples 32 --rounds 3 --steps 1 --warmup 1 --threads 1",
    ),
    Entry(
        "benchmark_data.py",
        "How many images a second one core prepares, beside timm.",
        "--root data/imagenet_sample --images 20 --rounds 3",
    ),
    Entry(
        "benchmark_growth.py",
        "How time and memory grow with the length of a text and the side of an image; here up to 1,024 tokens.",
        "--longest 1024 --largest 448 --steps 1 --plot growth.png",
        "growth.png",
        "Time and memory a token over the number of tokens, on logarithmic axes, a line for each model",
        tail=18,
    ),
    Entry(
        "benchmark_scaling.py",
        "The efficiency that training on many GPUs can reach, calculated from bytes and bandwidths.",
        "",
        tail=30,
    ),
    Entry(
        "verify_device.py",
        "The examination of a machine; here its first section in a minute, at toy sizes.",
        "--device cpu --budget 60 --sections correctness",
        head=12,
        tail=24,
    ),
    Entry(
        "demo.py",
        "A page to try models on; here a picture was dropped on it.",
        "--models runs --studies docs/results --port 7861",
        sees="The page with a digit dropped on it: five classes as bars, and a map of where the classifier looks",
        address="http://127.0.0.1:7861",
    ),
)
