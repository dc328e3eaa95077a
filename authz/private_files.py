"""Secrets and keys in files: which value of a setting names a file, and how such a file is read and written.

A value that names a file is never used as the secret itself, because a path is no secret. Anybody who can read the file
has the secret, so that the log warns of a file that other accounts can use.
"""

import logging
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from authz.errors import InvalidInput

_LARGEST_FILE = 1 << 16
_SHORTEST_KEY = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger("caregrant")


def read_secret(value: str, variable: str) -> str:
    """Return the secret that a setting holds: the content of the file that it names, or else the value itself.

    A value names a file if it begins with `/`, `./`, `../`, `~` or `file:`, and if there is such a file or the
    directory for it. White space around the content is ignored. Raises `InvalidInput` for a file that is missing,
    cannot be read, or is empty.
    """
    path = _named_file(value)
    if path is None:
        return value
    try:
        text = read_private(str(path))
    except InvalidInput as error:
        raise InvalidInput(f"{variable}: {error}") from error
    if not text:
        raise InvalidInput(f"{variable}: the file {path} is empty")
    return text


def read_key(value: str, variable: str) -> str:
    """Return a signing key as `read_secret` does. Raises `InvalidInput` also for a key that is easy to guess."""
    key = read_secret(value, variable)
    if len(key) < _SHORTEST_KEY:
        raise InvalidInput(
            f"{variable} must have at least {_SHORTEST_KEY} characters, or name a file that holds as many"
        )
    if len(set(key)) == 1:
        raise InvalidInput(f"{variable} repeats one character; make a key with: openssl rand -hex 32")
    return key


def read_private(path: str) -> str:
    """Return the text of a file that holds a secret, without the white space around it. Raises `InvalidInput`."""
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                _log.warning("%s contains a secret, and accounts other than its owner can use it: chmod 600", path)
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode().strip()
    except OSError as error:
        raise InvalidInput(f"the file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"the file {path} holds no text") from error
    if len(content) > _LARGEST_FILE:
        raise InvalidInput(f"the file {path} is larger than {_LARGEST_FILE} bytes")
    return text


def write_private(path: str, text: str) -> None:
    """Write a secret into a new file that only its owner may read; the file appears with its whole content.

    Raises `FileExistsError` if the file exists, because a key never replaces another, and `InvalidInput`.
    """
    draft = f"{path}.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise InvalidInput(f"the file {path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            Path(draft).unlink()


def _named_file(value: str) -> Path | None:
    """Return the file that a value names, or None."""
    if value.startswith("file:"):
        return Path(value.removeprefix("file:").removeprefix("//")).expanduser()
    if value.startswith(("/", "./", "../", "~")):
        return Path(value).expanduser()
    path = Path(value)
    with suppress(OSError, ValueError):  # a long secret, or one with NUL, is no name of a file
        if path.is_file() or (len(path.parts) > 1 and path.parent.is_dir()):
            return path
    return None
