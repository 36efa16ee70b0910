"""The native library, called through ctypes: its functions, texts, handles and errors.

ctypes lets other Python threads run during each call. What the functions do is said in python/src.
"""

from __future__ import annotations

import ctypes
import json
import weakref
from pathlib import Path
from typing import Any


class DncError(Exception):
    """What `dnc-run` reports as an error, with the same message as on the command line.

    `run` is the run in which nodes failed, if there is one.
    """

    run: Any = None


class Image(ctypes.Structure):
    """An image: the bytes of a file, or pixels if height and width are given."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("bytes", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
    ]


class Handle:
    """A handle of the library, which is freed with its last reference."""

    def __init__(self, pointer: int, kind: str) -> None:
        self.pointer = pointer
        self.free = weakref.finalize(self, getattr(_native, f"dnc_free_{kind}"), pointer)


_ERROR = ctypes.POINTER(ctypes.c_void_p)
_HANDLE, _TEXT, _OWNED_TEXT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
_IMAGES = ctypes.POINTER(Image)

# Result and arguments of each function.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "dnc_start": (_HANDLE, [_TEXT, _ERROR]),
    "dnc_next_event": (_OWNED_TEXT, [_HANDLE, ctypes.c_uint64]),
    "dnc_stop": (None, [_HANDLE]),
    "dnc_runs": (_OWNED_TEXT, [_TEXT, _ERROR]),
    "dnc_open": (_HANDLE, [_TEXT, _ERROR]),
    "dnc_describe_run": (_OWNED_TEXT, [_HANDLE, _ERROR]),
    "dnc_report": (_OWNED_TEXT, [_HANDLE, _ERROR]),
    "dnc_table": (_HANDLE, [_HANDLE, _TEXT, _ERROR]),
    "dnc_describe_table": (_OWNED_TEXT, [_HANDLE, _ERROR]),
    "dnc_rows": (_OWNED_TEXT, [_HANDLE, ctypes.c_size_t, _ERROR]),
    "dnc_stream": (_HANDLE, [_HANDLE, _ERROR]),
    "dnc_model": (_HANDLE, [_HANDLE, _ERROR]),
    "dnc_describe_model": (_OWNED_TEXT, [_HANDLE, _ERROR]),
    "dnc_embed": (ctypes.c_bool, [_HANDLE, _IMAGES, ctypes.c_size_t, ctypes.c_void_p, _ERROR]),
    "dnc_searcher": (_HANDLE, [_HANDLE, _TEXT, _ERROR]),
    "dnc_search": (_HANDLE, [_HANDLE, _IMAGES, ctypes.c_size_t, _TEXT, _ERROR]),
    "dnc_use_capsules": (None, [ctypes.c_void_p]),
    "dnc_free_capsule": (None, [ctypes.c_void_p]),
    "dnc_free_text": (None, [ctypes.c_void_p]),
    "dnc_free_running": (None, [_HANDLE]),
    "dnc_free_run": (None, [_HANDLE]),
    "dnc_free_table": (None, [_HANDLE]),
    "dnc_free_model": (None, [_HANDLE]),
    "dnc_free_searcher": (None, [_HANDLE]),
}


def _load() -> ctypes.CDLL:
    native = ctypes.CDLL(str(Path(__file__).with_name("libdnc.so")))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(native, name)
        function.restype, function.argtypes = result, arguments
    native.dnc_use_capsules(ctypes.cast(ctypes.pythonapi.PyCapsule_GetPointer, ctypes.c_void_p))
    return native


_native = _load()


def call(name: str, *arguments: Any) -> Any:
    """Calls a function whose last argument is an error."""
    error = ctypes.c_void_p()
    result = getattr(_native, name)(*arguments, ctypes.byref(error))
    if error.value:
        raise DncError(taken(error.value))
    return result


def call_json(name: str, *arguments: Any) -> Any:
    """Calls a function that returns JSON."""
    return json.loads(taken(call(name, *arguments)))


def request(**values: Any) -> bytes:
    """A request as the library reads it. Paths become text."""
    return json.dumps(values, default=str).encode()


def taken(text: int) -> str:
    """A text of the library, which is freed."""
    try:
        return ctypes.string_at(text).decode()
    finally:
        _native.dnc_free_text(text)


def next_event(running: Handle, milliseconds: int) -> dict[str, Any] | None:
    """The next event of a run; none if there is none within this time."""
    text = _native.dnc_next_event(running.pointer, milliseconds)
    return json.loads(taken(text)) if text else None


def capsule(stream: int) -> Any:
    """A capsule with a stream of Arrow batches, which frees what nobody takes over."""
    return _new_capsule(stream, _CAPSULE_NAME, ctypes.cast(_native.dnc_free_capsule, ctypes.c_void_p))


# Python keeps a pointer to the name.
_CAPSULE_NAME = b"arrow_array_stream"
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
