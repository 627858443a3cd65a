"""Models of encoded tables: one linear layer, and a multilayer perceptron with embeddings."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

_EMBEDDING_STD = 0.05


def embedding_size(cardinality: int) -> int:
    """Return the width of a category's embedding: 1.6 n^0.56, at most 64.

    The rule of thumb of fastai's tabular learner (Howard and Gugger 2020), with a lower limit.
    """
    return min(64, max(1, round(1.6 * math.pow(cardinality, 0.56))))


class Linear(nn.Module):
    """Linear in the features, and one free weight for every code of every code column."""

    def __init__(
        self, *, num_outputs: int, num_features: int, cardinalities: Sequence[int]
    ) -> None:
        """Build with fresh weights; arguments as in `TableShape` and `build_model`."""
        super().__init__()
        self.features = nn.Linear(num_features, num_outputs) if num_features else None
        self.codes = _embeddings(cardinalities, [num_outputs] * len(cardinalities))
        # Without features there is no layer that carries a bias.
        self.bias = None if num_features else nn.Parameter(torch.zeros(num_outputs))

    def forward(self, features_BF: torch.Tensor, codes_BE: torch.Tensor) -> torch.Tensor:
        """Return (B, K) of float32 features and int64 codes."""
        parts = [table(codes_BE[:, column]) for column, table in enumerate(self.codes)]
        if self.features is not None:
            parts.append(self.features(features_BF))
        if self.bias is not None:
            parts.append(self.bias.expand(len(codes_BE), -1))
        outputs_BK: torch.Tensor = torch.stack(parts).sum(dim=0)
        return outputs_BK


class MLP(nn.Module):
    """Features and embedded codes side by side, through layers of ReLU."""

    def __init__(
        self,
        *,
        num_outputs: int,
        num_features: int,
        cardinalities: Sequence[int],
        hidden: Sequence[int],
        norm: Literal["layer", "none"],
        dropout: float,
    ) -> None:
        """Build with fresh weights; arguments as in `MLPConfig`, `TableShape`, `build_model`."""
        super().__init__()
        sizes = [embedding_size(cardinality) for cardinality in cardinalities]
        self.codes = _embeddings(cardinalities, sizes)
        layers: list[nn.Module] = []
        inside = num_features + sum(sizes)
        for out in hidden:
            layers.append(nn.Linear(inside, out))
            if norm == "layer":
                layers.append(nn.LayerNorm(out))
            layers += [nn.ReLU(inplace=True), nn.Dropout(dropout)]
            inside = out
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inside, num_outputs)

    def forward(self, features_BF: torch.Tensor, codes_BE: torch.Tensor) -> torch.Tensor:
        """Return (B, K) of float32 features and int64 codes."""
        embedded = [table(codes_BE[:, column]) for column, table in enumerate(self.codes)]
        outputs_BK: torch.Tensor = self.head(self.body(torch.cat([features_BF, *embedded], dim=1)))
        return outputs_BK


def _embeddings(cardinalities: Sequence[int], sizes: Sequence[int]) -> nn.ModuleList:
    # torch draws them from a standard normal, as loud as a feature of one standard deviation.
    tables = nn.ModuleList()
    for cardinality, size in zip(cardinalities, sizes, strict=True):
        table = nn.Embedding(cardinality, size)
        nn.init.normal_(table.weight, std=_EMBEDDING_STD)
        tables.append(table)
    return tables
