"""Every error a user can cause, each also a builtin so that plain `except ValueError` works.

The message is one line: what is wrong, then what to do about it.
"""

from __future__ import annotations

__all__ = [
    "AnnotationError",
    "CheckpointError",
    "ClickOutsideSlideError",
    "ConfigError",
    "DownloadError",
    "EmptyDatasetError",
    "EmptyMaskError",
    "EvaluationRecordsError",
    "HistoSamError",
    "ImageError",
    "JobError",
    "JournalError",
    "LicenceError",
    "MissingMppError",
    "OutOfMemoryError",
    "OutputExistsError",
    "OutputWriteError",
    "PatchStoreError",
    "PredictionError",
    "RegionError",
    "SchedulerError",
    "SlideError",
    "SlideFormatError",
    "SlideNotFoundError",
    "UnknownModelError",
]


class HistoSamError(Exception):
    """A mistake in the input or the call; the message names the fix."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError and OSError would show it otherwise


class SlideError(HistoSamError):
    """A slide cannot be used."""


class SlideNotFoundError(SlideError, FileNotFoundError):
    """No file at that path."""


class SlideFormatError(SlideError, ValueError):
    """The file is empty, truncated, or not an image this project reads."""


class MissingMppError(SlideError, ValueError):
    """The slide does not state its micrometres per pixel and the call needs them."""


class RegionError(HistoSamError, ValueError):
    """A region has no pixels, or lies wholly outside the slide."""


class ClickOutsideSlideError(HistoSamError, ValueError):
    """A click lies outside the slide or the image."""


class AnnotationError(HistoSamError, ValueError):
    """An annotation file cannot be read, or matches no slide."""


class EmptyDatasetError(HistoSamError, ValueError):
    """No patch is left after the filters."""


class CheckpointError(HistoSamError, ValueError):
    """A checkpoint is truncated, unsafe, or of another architecture."""


class UnknownModelError(HistoSamError, KeyError):
    """No model of that name, and no file at that path."""


class DownloadError(HistoSamError, OSError):
    """Weights could not be fetched, or their hash is wrong."""


class LicenceError(HistoSamError, PermissionError):
    """A model's licence restricts what it may be used for, and it has not been accepted yet."""


class ConfigError(HistoSamError, ValueError):
    """One or more settings are wrong; the message lists all of them."""


class OutputExistsError(HistoSamError, FileExistsError):
    """The output path is taken and overwriting was not asked for."""


class OutputWriteError(HistoSamError, OSError):
    """The output could not be written (disk full, no permission)."""


class EvaluationRecordsError(HistoSamError, ValueError):
    """A folder holds no records of an evaluation, or they cannot be read."""


class ImageError(HistoSamError, ValueError):
    """An image or mask array has a shape or dtype that cannot be used."""


class PatchStoreError(HistoSamError, ValueError):
    """A path holds no patch store, one of another version, or not the split asked for."""


class OutOfMemoryError(HistoSamError, MemoryError):
    """The device has too little memory left for the model."""


class PredictionError(HistoSamError, ValueError):
    """A model's answer cannot be used: of another size than its image, or not a number."""


class EmptyMaskError(HistoSamError, ValueError):
    """There is no mask to accept, draw or save."""


class JournalError(HistoSamError, ValueError):
    """A session's journal cannot be read, written or continued."""


class JobError(HistoSamError, RuntimeError):
    """A long job cannot be started, continued or removed."""


class SchedulerError(HistoSamError, ConnectionError):
    """A dask scheduler or its workers are not there, do not fit, or died."""
