"""Compares the exported network in PyTorch with the embeddings that dnc-run computed for the same images.

usage: python check.py        (needs numpy, Pillow, torch, safetensors and the network's published code, see README.md)

Exits with 1 if a coordinate differs by more than 1e-4, or a pixel by more than 2 of 255.
"""
import os
import sys

import numpy as np
import torch

TOLERANCE = 1e-4
# Scaling rounds in fixed point, in Pillow and in dnc-run in different places.
PIXEL_TOLERANCE = 2
os.chdir(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ".")

import model
import preprocess


def main():
    pixels, expected = np.load("test/inputs.npy"), np.load("test/embeddings.npy")
    loaded = np.stack([preprocess.load(f"test/{number}.png") for number in range(len(pixels))])
    steps = int(np.abs(loaded.astype(int) - pixels).max())
    print(f"pictures: largest difference of a pixel {steps} of 255")
    network = model.load("model.safetensors")
    with torch.no_grad():
        found = torch.nn.functional.normalize(network(torch.from_numpy(preprocess.normalise(pixels))), dim=1)
    difference = float(np.abs(found.numpy() - expected).max())
    print(f"embeddings: largest difference {difference:.1e}")
    sys.exit(0 if difference <= TOLERANCE and steps <= PIXEL_TOLERANCE else 1)


main()
