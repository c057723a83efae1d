"""Install this project and what it needs into the environment whose Python runs this, at constraints.txt's versions.

    .venv/bin/python infra/install.py '.[dev]'

uv downloads and unpacks in parallel and leaves compiling to the first import: 26 seconds for the 390 packages of `dev`
where pip takes four minutes (two cores, cold caches). torch is pip's, which also takes a wheel from `find-links`, and
uv leaves what is there. uv stays out of the environment, whose READMEs are the default corpus. Where uv cannot be had
or fails, pip does the whole.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CONSTRAINTS = ("--constraint", "constraints.txt")
# pip's setting, and what uv reads it from: uv knows nothing of pip.conf or PIP_*, and a mirror must not be passed by.
SAME_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def main(requirement: str) -> None:
    """Install torch, then `requirement` as editable, by uv or else by pip."""
    python = (sys.executable, "-m", "pip")
    subprocess.run([*python, "install", "--quiet", *CONSTRAINTS, "torch"], check=True)
    install = ("install", "--quiet", *CONSTRAINTS, "--editable", requirement)
    uv = Path(sys.prefix) / "uv"
    subprocess.run([*python, "install", "--quiet", *CONSTRAINTS, "--upgrade", "--target", uv, "uv"], check=False)
    listed = subprocess.run([*python, "config", "list"], check=True, capture_output=True, text=True).stdout
    try:
        command = [uv / "bin" / "uv", "pip", *install, "--python", sys.executable]
        subprocess.run(command, check=True, env=dict(os.environ) | uv_settings(listed))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"uv did not install it ({error}): pip does, which takes some minutes", file=sys.stderr)
        subprocess.run([*python, *install], check=True)


def uv_settings(listed: str) -> Mapping[str, str]:
    """Return the variables that tell uv what `pip config list` printed: lines of `section.name='value'`.

    pip takes the best version of all its indexes, uv by default of the first that has the package: told to do as pip.
    """
    values = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for section in ("global", "install", ":env:"):  # as pip: the later one decides
        for name, variable in SAME_SETTINGS.items():
            if value := values.get(f"{section}.{name}"):
                parts = shlex.split(value.replace("\\n", " "))
                settings[variable] = ("," if name == "find-links" else " ").join(" ".join(parts).split())
    return settings


if __name__ == "__main__":
    main(*sys.argv[1:])
