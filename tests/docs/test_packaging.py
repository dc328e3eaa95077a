"""Packaging: the wheel works outside the checkout, and the lock files have hashes and name no host."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (made,) = folder.glob("caregrant-*.whl")
    return made


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """An installed wheel makes a clinic, permits, and denies with the rule, without the checkout."""
    made = tmp_path / "venv"
    venv.create(made, with_pip=False)
    into = ["--target", str(made / "lib/caregrant")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, *into, wheel], check=True, capture_output=True)
    # What it depends on comes from this environment, but not this checkout.
    paths = [str(made / "lib/caregrant"), *(path for path in sys.path if path.endswith("site-packages"))]

    def caregrant(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path[:0] = {paths!r}; from authz.cli import main; sys.exit(main())"
        database = ["--database", f"sqlite:///{tmp_path}/clinic.db"]
        return subprocess.run(
            [made / "bin/python", "-I", "-c", code, *arguments, *database],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert caregrant("demo").returncode == 0
    allowed = caregrant("check", "practitioner:bob", "view", "patient:p-1")
    assert (allowed.returncode, allowed.stdout) == (0, "allowed: rule R5, grant 101\n")
    denied = caregrant("check", "practitioner:frank", "view", "patient:p-1", "--explain")
    assert denied.returncode == 1
    assert "UNMET  R1" in denied.stdout
    assert "who_could_see_this_patient  (patient, as_of" in caregrant("audit", "report").stdout
    where = subprocess.run(
        [made / "bin/python", "-I", "-c", f"import sys; sys.path[:0] = {paths!r}; import authz; print(authz.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in where.stdout


def test_the_wheel_holds_the_pages(wheel: Path) -> None:
    """Every template and asset of the checkout is in the wheel."""
    files = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        str(path.relative_to(ROOT))
        for kind in ("templates", "static")
        for path in (ROOT / "api" / "web" / kind).iterdir()
    }
    assert len(needed) > 15
    assert needed <= files


@pytest.mark.parametrize("name", ["run", "dev", "notebooks", "bench"])
def test_locks_have_hashes_and_no_host(name: str) -> None:
    """Each package of a lock file has hashes, and no line names a host or an index."""
    text = (ROOT / f"requirements/{name}.lock").read_text()
    packages = re.findall(r"^[a-z0-9][^ ]*==[^\n]*\n((?:    [^\n]*\n?)*)", text, re.M)
    assert len(packages) > 10
    assert all("--hash=sha256:" in hashes for hashes in packages)
    assert not re.search(r"://|index|find-links|trusted", text)


def test_what_is_needed_is_locked() -> None:
    """Every dependency that the package declares stands in its lock file."""
    declared = re.search(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert declared
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/run.lock").read_text(), re.M))
    assert set(re.findall(r'"([a-z0-9-]+)', declared.group(1))) <= locked
