"""The classifier's heads that are more than one linear layer."""

from torch import Tensor, nn

from metaformer_nlp.core import build_norm
from metaformer_nlp.core.channel_mlp import build_activation
from vision.configuration import MetaFormerVisionConfig


class MLPHead(nn.Module):
    """(B, C) -> (B, num_labels): the head of ConvFormer and CAFormer (arXiv 2210.13452, as in its code).

    Linear to `expansion` times the channels, squared ReLU, layer norm (eps 1e-5, where timm has 1e-6), dropout, linear.
    """

    def __init__(self, dim: int, num_labels: int, *, dropout: float = 0.0, expansion: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, expansion * dim)
        self.act = build_activation("squared_relu")
        self.norm = build_norm("layer_norm", expansion * dim, eps=1e-5)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(expansion * dim, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(self.norm(self.act(self.fc1(x)))))


def build_classifier(config: MetaFormerVisionConfig) -> nn.Module:
    """(B, C) -> (B, num_labels), of the configuration's kind; with no labels it leaves the channels as they are."""
    dim = config.hidden_sizes[-1]
    if not config.num_labels:
        return nn.Identity()
    if config.head == "mlp":
        return MLPHead(dim, config.num_labels, dropout=config.classifier_dropout)
    return nn.Linear(dim, config.num_labels)
