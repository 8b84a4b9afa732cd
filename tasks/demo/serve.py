"""Serves the page on this machine: no file of the disk, no code of a model, no request to the network."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from metaformer_nlp.config.names import split_names
from tasks.demo.options import DemoConfig as Config

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["launch", "opened", "prepare", "run", "serve"]


def run(config: Config) -> None:
    """Serve until the process is asked to stop.

    Raises:
        ValueError: the library is missing, a given path is not there, or the port is taken.
    """
    with ExitStack() as stack:
        serve(opened(config, stack), config)


def serve(page: gr.Blocks, config: Config, embedded: str = "") -> None:
    """Serve the page until the process is asked to stop; ``embedded`` as for `launch`."""
    address = launch(page, config, embedded)
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    page.close()


def prepare(stack: ExitStack) -> None:
    """Settings of gradio and the hub, which look at them when they are imported; ``stack`` removes what is uploaded."""
    own = stack.enter_context(tempfile.TemporaryDirectory(prefix="metaformer-page-"))  # of uploads, and of nothing else
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    os.environ |= {"GRADIO_TEMP_DIR": own, "GRADIO_EXAMPLES_CACHE": own}


def opened(config: Config, stack: ExitStack) -> gr.Blocks:
    """The page of the options; ``stack`` ends its trainings, and removes their folder where none was given."""
    if find_spec("gradio") is None:
        raise ValueError("the page needs the package gradio: pip install 'metaformer-nlp[demo]'")
    prepare(stack)
    from tasks.demo.models import given_models
    from tasks.demo.page import make_page
    from tasks.demo.studies import Studies
    from tasks.demo.trainer import Trainer

    folder = config.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="metaformer-"))
    models = given_models(_listed(config.models), Path(folder).expanduser())
    studies = Studies({name: Path(name).expanduser() for name in _listed(config.studies)})
    trainer = Trainer(Path(folder).expanduser())
    stack.callback(trainer.stop)
    return make_page(models, studies, trainer)


def launch(page: gr.Blocks, config: Config, embedded: str = "") -> str:
    """Serve in threads of this process; the address of the page. Pages of ``embedded`` may show it inside them."""
    from gradio import processing_utils

    from tasks.demo.guard import LOOPBACK, Guard, fetch_nothing
    from tasks.demo.page import CSS, theme

    processing_utils.async_ssrf_protected_download = fetch_nothing
    guard = (Guard, (), {"loopback": config.host in LOOPBACK, "embedded": embedded})
    try:
        _, address, _ = page.launch(
            server_name=config.host,
            server_port=config.port or None,
            prevent_thread_lock=True,
            theme=theme(),
            css_paths=CSS,
            share=False,
            quiet=True,
            allowed_paths=[],
            app_kwargs={"middleware": [guard]},
            max_file_size="64mb",
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
        )
    except OSError as error:
        raise ValueError(f"port {config.port}: {' '.join(str(error).split())} (--port 0 takes any)") from error
    return str(address)


def _listed(names: str | list[str]) -> list[str]:
    return split_names(names) if names else []
