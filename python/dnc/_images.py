"""Images as the library takes them: files, Pillow's images and NumPy's arrays.

Files go through the decoder of the run, byte for byte. Pillow's images keep transparency, palettes and 16 bits, which the run's own
decoder then converts; the orientation of a photo is applied, as the run does.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Union

from ._library import DncError, Image

#: Images that are in memory at a time.
CHUNK = 64
#: Modes of Pillow that PNG keeps.
_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGBA"}

#: A path, the bytes of an image file, an image of Pillow, or an array of NumPy `(height, width, 3)` of type uint8.
ImageLike = Union[str, "os.PathLike[str]", bytes, bytearray, Any]


class Images(list["tuple[Image, bytes]"]):
    """Images of one call: structures whose memory stays alive as long as this list."""

    def add(self, image: ImageLike, name: str) -> None:
        """Adds an image."""
        name, data, height, width = _parts(image, name)
        data = data if isinstance(data, bytes) else bytes(data)
        pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
        self.append((Image(name.encode(errors="replace"), pointer, len(data), height, width), data))

    def array(self) -> Any:
        """The structures one after the other."""
        return (Image * len(self))(*(image for image, _ in self))


def chunks(images: ImageLike | Iterable[ImageLike]) -> Iterator[Images]:
    """The images, a few at a time. A single one counts as a list of one."""
    named = ((image, f"Image {number}") for number, image in enumerate(many(images)))
    while batch := list(islice(named, CHUNK)):
        found = Images()
        for image, name in batch:
            found.add(image, name)
        yield found


def many(images: Any) -> Iterable[Any]:
    """A list of images, if it is not one already."""
    is_array = _is_array(images)
    is_one = isinstance(images, (str, os.PathLike, bytes, bytearray)) or _is_pillow(images) or is_id(images)
    if is_one or (is_array and images.ndim != 4):
        return [images]
    if not isinstance(images, Iterable):
        raise DncError(f"{_EXPECTED}; this is a `{type(images).__name__}`")
    return images


_EXPECTED = "An image must be a path, the bytes of a file, a Pillow image, or a uint8 array (height, width, 3)"


def _parts(image: Any, name: str) -> tuple[str, Any, int, int]:
    if isinstance(image, (str, os.PathLike)):
        try:
            with open(image, "rb") as file:
                return f"`{os.fspath(image)}`", file.read(), 0, 0
        except OSError as error:
            raise DncError(f"Cannot read `{os.fspath(image)}`: {error.strerror or error}") from error
    if isinstance(image, (bytes, bytearray)):
        return name, image, 0, 0
    if _is_pillow(image):
        return _pillow(image, name)
    if _is_array(image):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != "uint8":
            raise DncError(f"{name} has shape {tuple(image.shape)} and type {image.dtype}. {_EXPECTED}")
        return name, image.tobytes(), image.shape[0], image.shape[1]
    raise DncError(f"{name} is a `{type(image).__name__}`. {_EXPECTED}")


def _pillow(image: Any, name: str) -> tuple[str, Any, int, int]:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in _PNG_MODES:
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=0)
        return name, file.getvalue(), 0, 0
    if image.mode != "RGB":
        image = image.convert("RGB")
    return name, image.tobytes(), image.height, image.width


def is_id(image: Any) -> bool:
    """Whether this is a number, such as the id of an image."""
    return hasattr(image, "__index__") and not _is_array(image)


# An object of a library exists only once that library is imported, so that none of them is needed.
def _is_pillow(image: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def _is_array(image: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(image, numpy.ndarray)
