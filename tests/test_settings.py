"""The environment in which all libraries run."""

import getpass
import pwd

import pytest

from tasks.settings import quiet_environment


def test_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs as any number has no entry in passwd, and DVC asks for the user's name."""

    def no_entry(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)

    quiet_environment()

    assert getpass.getuser().startswith("uid-")


def test_name_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")

    quiet_environment()

    assert getpass.getuser() == "somebody"
