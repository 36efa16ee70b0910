"""Preprocessing of pictures for the exported model, as dnc-run does it. Needs NumPy and Pillow.

    pixels = load("photo.jpg")            # u8 [crop, crop, 3], RGB: what model.onnx takes, with an axis for the batch in front
    images = normalise(pixels[None])      # f32 [1, 3, crop, crop]: what the network in PyTorch takes
"""
import json
import os

import numpy as np
from PIL import Image, ImageOps

# How the run decoded its pictures: the colour behind transparent pixels, and the size to which they were scaled before anything else.
BACKGROUND = {background}
DECODED_SIZE = {size}

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.json"), encoding="utf-8") as file:
    CARD = json.load(file)


def scaled(width, height, shorter):
    """Size after scaling the shorter side; the longer is rounded down, as in torchvision."""
    return (shorter * width // height, shorter) if height <= width else (shorter, shorter * height // width)


def decode(path):
    """The picture at `path` as the run decodes its pictures: upright, RGB, in the size of the run's images."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(behind, image)
    image = image.convert("RGB")
    if isinstance(DECODED_SIZE, int) and min(image.size) > DECODED_SIZE:
        image = image.resize(scaled(*image.size, DECODED_SIZE), Image.BILINEAR)
    elif isinstance(DECODED_SIZE, tuple):
        image = image.resize(DECODED_SIZE[::-1], Image.BILINEAR)
    return image


def centre(image):
    """The central square of a Pillow image, u8 [crop, crop, 3]: scaled by Pillow's antialiased triangle filter, then cropped."""
    resize, crop = CARD["resize"], CARD["crop"]
    if image.size == (crop, crop):
        return np.asarray(image)
    size = scaled(*image.size, resize)
    # Python rounds half to even, and so does torchvision's CenterCrop. The filter reads pixels around the box too.
    start = [round((length - crop) / 2) for length in size]
    factors = [whole / length for whole, length in zip(image.size, size)]
    ends = [min((first + crop) * factor, whole) for first, factor, whole in zip(start, factors, image.size)]
    box = (start[0] * factors[0], start[1] * factors[1], *ends)
    return np.asarray(image.resize((crop, crop), Image.BILINEAR, box=box))


def load(path):
    """The pixels of a picture, u8 [crop, crop, 3], RGB."""
    return centre(decode(path))


def normalise(pixels):
    """Pixels u8 [batch, crop, crop, 3], RGB, as the network takes them: f32 [batch, 3, crop, crop]."""
    pixels = pixels.astype("f4")
    if CARD["channels"] == "bgr":
        pixels = pixels[..., ::-1]
    values = (pixels - np.array(CARD["mean"], "f4")) / np.array(CARD["std"], "f4")
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
