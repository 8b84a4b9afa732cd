"""Options of the demonstration page, without the libraries that it is made of."""

from dataclasses import dataclass, field

__all__ = ["DemoConfig"]


@dataclass(frozen=True)
class DemoConfig:
    """Show models and studies on a page."""

    models: str | list[str] = field(default_factory=list)
    """Models, separated by commas: run folders, folders of save_pretrained, or folders of such folders. Weights are
    read from safetensors only."""
    studies: str | list[str] = field(default_factory=list)
    """Folders of studies or of their reports, or folders of such folders, separated by commas."""
    folder: str | None = None
    """Folder for the models that are trained on the page; null: a temporary one, which is removed at the end."""
    host: str = "127.0.0.1"
    """Address to listen on. Everybody who can reach it can use the page: there is no password."""
    port: int = 7860
    """Port to listen on; 0: the first that is free, from 7860 on."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: must lie between 0 and 65535")
