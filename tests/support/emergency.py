"""The shipped policy with emergency access switched on, as docs/howto/emergency-access.md says."""

import shutil
from pathlib import Path

from authz.policy.compiler import compile_texts
from authz.settings import shipped_folder

_LAST_PERMISSION = '"undo_transfer"\n    ]'


def texts_with_emergency() -> dict[str, str]:
    """Return the texts of the shipped policy with the optional file and the permission that it gives."""
    folder = shipped_folder("policies")
    paths = [*folder.glob("*.polar"), folder / "types.toml", folder / "optional" / "break_glass.polar"]
    texts = {path.name: path.read_text() for path in paths}
    assert _LAST_PERMISSION in texts["patient.polar"]
    texts["patient.polar"] = texts["patient.polar"].replace(_LAST_PERMISSION, '"undo_transfer", "break_glass"\n    ]')
    return texts


def write_policy(folder: Path) -> str:
    """Write the policy with emergency access into a folder; return its path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, text in texts_with_emergency().items():
        (folder / name).write_text(text)
    return str(folder)


EMERGENCY_POLICY = compile_texts(texts_with_emergency())
