"""The options of scripts/verify_device.py, read by argparse: jsonargparse is missing where only torch is installed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

__all__ = ["SECTIONS", "DeviceConfig", "parse"]

SECTIONS = ("correctness", "images", "text", "dense", "pretraining", "processes")
"""In order of importance, which is the order they are run in."""


@dataclass(frozen=True)
class DeviceConfig:
    """Examine a machine."""

    device: str | None = None
    budget: float | None = None
    output: str = "runs/device"
    sections: tuple[str, ...] = SECTIONS


def parse(description: str | None) -> DeviceConfig:
    """This process's command line; a wrong one ends the program with status 2."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one; cpu: toy sizes")
    parser.add_argument("--budget", type=_seconds, help="seconds in all; default: 480 on a GPU, 60 on a CPU")
    parser.add_argument(
        "--output", default=DeviceConfig.output, help="folder of the results; default: %(default)s, replaced if there"
    )
    parser.add_argument(
        "--sections",
        type=lambda text: tuple(text.split(",")),
        default=SECTIONS,
        help=f"which to run, separated by commas; default: {','.join(SECTIONS)}",
    )
    options = DeviceConfig(**vars(parser.parse_args()))
    for name in options.sections:
        if name not in SECTIONS:
            parser.error(f"--sections {name}: there are {', '.join(SECTIONS)}")
    return options


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return seconds
