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


class Layer(nn.Module):
    """A convolution and its scale and shift."""

    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = Affine(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = Layer(inputs, outputs, 3, stride)
        self.second = Layer(outputs, outputs, 3, 1)
        self.shortcut = nn.Identity() if (stride, inputs) == (1, outputs) else Layer(inputs, outputs, 1, stride)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Small(nn.Module):
    """Four residual blocks: images [batch, 3, height, width] to embeddings [batch, dimension], not normalised."""

    def __init__(self, dimension, pooling="avg"):
        super().__init__()
        self.pooling = pooling
        self.stem = Layer(3, 32, 3, 2)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2), Block(128, 256, 2))
        self.fc = nn.Linear(256, dimension)

    def features(self, x):
        x = self.blocks(torch.relu(self.stem(x)))
        return x.amax((2, 3)) if self.pooling == "max" else x.mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))
