import torch
from torch import nn


class Affine(nn.Module):
    """One scale and one shift per channel."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Plain(nn.Module):
    """A chain of five convolutions: images [batch, 3, height, width] to embeddings [batch, dimension], not normalised."""

    def __init__(self, dimension, pooling="avg"):
        super().__init__()
        layers = [(3, 48, 5, 2, 2), (48, 96, 3, 2, 1), (96, 192, 3, 2, 1), (192, 192, 3, 2, 1), (192, 384, 3, 1, 0)]
        self.depth, self.pooling = len(layers), pooling
        for number, (inputs, outputs, kernel, stride, padding) in enumerate(layers, 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))
            setattr(self, f"norm{number}", Affine(outputs))
        self.fc = nn.Linear(384, dimension)

    def features(self, x):
        for number in range(1, self.depth + 1):
            x = torch.relu(getattr(self, f"norm{number}")(getattr(self, f"conv{number}")(x)))
        return x.amax((2, 3)) if self.pooling == "max" else x.mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))
