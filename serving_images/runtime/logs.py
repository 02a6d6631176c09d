"""What a server says where its prediction log cannot be opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_images.prediction_log.folder import LogInUseError
from serving_images.runtime.errors import Refused


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Refuse to start, with a way to mend it, where a log's folder is in use or cannot be written.

    Raises:
        Refused: so it is.
    """
    try:
        yield
    except LogInUseError as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(
            f"the prediction log cannot be written to {folder}: {error.strerror}. Name a folder that can, "
            "with MODELYARD_LOG_DIR"
        ) from None
