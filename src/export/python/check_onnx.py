"""Compares model.onnx in ONNX Runtime with the embeddings that dnc-run computed for the same images.

usage: python check.py        (needs numpy and onnxruntime; with Pillow, the preprocessing of the pictures is compared too)

Exits with 1 if a coordinate differs by more than 1e-4, in a batch of 1, 14 or 100 images, or a pixel by more than 2 of 255.
"""
import os
import sys

import numpy as np
import onnxruntime

TOLERANCE = 1e-4
# Scaling rounds in fixed point, in Pillow and in dnc-run in different places.
PIXEL_TOLERANCE = 2
os.chdir(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ".")


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def main():
    pixels, expected = np.load("test/inputs.npy"), np.load("test/embeddings.npy")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    is_raw = session.get_inputs()[0].type == "tensor(float)"
    if is_raw:
        from preprocess import normalise
    worst = 0.0
    for batch in (1, 14, 100):
        rows = np.arange(batch) % len(pixels)
        images = normalise(pixels[rows]) if is_raw else pixels[rows]
        (found,) = session.run(["embeddings"], {"images": images})
        difference = float(np.abs((unit(found) if is_raw else found) - expected[rows]).max())
        print(f"batch of {batch:3}: largest difference {difference:.1e}")
        worst = max(worst, difference)
    try:
        from preprocess import load
    except ImportError:
        print("pictures: not compared, since Pillow is not installed")
    else:
        loaded = np.stack([load(f"test/{number}.png") for number in range(len(pixels))])
        steps = int(np.abs(loaded.astype(int) - pixels).max())
        print(f"pictures: largest difference of a pixel {steps} of 255")
        worst = max(worst, 0.0 if steps <= PIXEL_TOLERANCE else 1.0)
    sys.exit(0 if worst <= TOLERANCE else 1)


main()
