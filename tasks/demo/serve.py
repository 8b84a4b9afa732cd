"""Serves the page on this machine: no file of the disk, no code of a model, no request to the network."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from metaformer_nlp.config.names import split_names
from tasks.demo.options import DemoConfig as Config

__all__ = ["run"]


def run(config: Config) -> None:
    """Serve until the process is stopped.

    Raises:
        ValueError: the library is missing, a given path is not there, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise ValueError("the page needs the package gradio: pip install 'metaformer-nlp[demo]'")
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_SHARE": "False"}
    from tasks.demo.models import Models
    from tasks.demo.page import CSS, make_page, theme

    models = Models([Path(name).expanduser() for name in split_names(config.models)] if config.models else [])
    page = make_page(models)
    page.launch(
        server_name=config.host,
        server_port=config.port or None,
        theme=theme(),
        css_paths=CSS,
        share=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        allowed_paths=[],
        max_file_size="64mb",
        quiet=True,
    )
