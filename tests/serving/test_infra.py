"""The files under `infra/` name commands, options and variables that exist. No container is built here."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import cli
from serving.stack.up import Ports, environment, mlflow_command, prefect_command, stack
from tasks.settings import QUIET_ENVIRONMENT, Settings

INFRA = Path(__file__).parents[2] / "infra"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))["services"]
DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")


def words(service: str) -> list[str]:
    return shlex.split(SERVICES[service]["command"])


def known_variables() -> set[str]:
    ours = {str(field.validation_alias or f"ALMANAC_{name.upper()}") for name, field in Settings.model_fields.items()}
    return ours | set(QUIET_ENVIRONMENT) | {"PREFECT_API_URL", "PREFECT_HOME", "PREFECT_SERVER_UI_API_URL"}


@pytest.mark.parametrize("service", ["worker", "server"])
def test_almanac_commands_of_the_containers_exist(service: str) -> None:
    program, command, *options = words(service)

    assert program == "almanac"
    assert command in get_command(cli.app).commands  # type: ignore[attr-defined]
    assert options == []


def test_image_serves_unless_told_otherwise() -> None:
    assert 'CMD ["almanac", "serve"]' in DOCKERFILE


def test_containers_start_the_servers_as_up_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_HOME", "/var/lib/almanac")

    hosts = words("mlflow")[-2:]

    assert hosts[0] == "--allowed-hosts"
    assert words("mlflow") == [*mlflow_command(Settings(), "0.0.0.0", 5000)[2:], *hosts]
    assert words("prefect") == list(prefect_command("0.0.0.0", 4200)[2:])


def test_servers_that_run_elsewhere_are_used_and_not_started() -> None:
    settings = Settings(MLFLOW_TRACKING_URI="http://mlflow.example:5000/", PREFECT_API_URL="http://prefect.example/api")
    ports = Ports(4200, 5000, 8000)

    services = {service.name: service for service in stack(settings, ports)}

    assert list(services) == ["worker", "server"]
    assert not any(service.after for service in services.values())
    assert environment(settings, ports)["MLFLOW_TRACKING_URI"] == "http://mlflow.example:5000"
    assert environment(settings, ports)["PREFECT_API_URL"] == "http://prefect.example/api"


def test_mlflow_of_up_takes_the_database_and_the_store_that_are_named() -> None:
    settings = Settings(MLFLOW_TRACKING_URI="postgresql://mlflow@db/mlflow", store="s3://bucket/almanac")

    command = mlflow_command(settings, "127.0.0.1", 5000)

    assert command[command.index("--backend-store-uri") + 1] == "postgresql://mlflow@db/mlflow"
    assert command[command.index("--default-artifact-root") + 1] == "s3://bucket/almanac/mlartifacts"
    assert environment(settings, Ports(4200, 5000, 8000))["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"


def test_variables_are_ones_that_the_software_reads() -> None:
    set_in_compose = {name for service in SERVICES.values() for name in service.get("environment", {})}
    set_in_image = set(re.findall(r"\b(ALMANAC_\w+)=", DOCKERFILE))

    assert set_in_compose | set_in_image <= known_variables() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}


def test_servers_call_nobody_outside() -> None:
    for service, prefix in {"prefect": "PREFECT_SERVER_", "mlflow": "MLFLOW_"}.items():
        found = SERVICES[service]["environment"]
        shared = {name: found[name] for name in found if name in QUIET_ENVIRONMENT}
        assert "DO_NOT_TRACK" in shared
        assert any(name.startswith(prefix) for name in shared)
        assert shared == {name: QUIET_ENVIRONMENT[name] for name in shared}


def test_ports_are_published_to_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_services_wait_for_what_has_a_health_check() -> None:
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[other]


def test_image_runs_without_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)

    assert users == ["10001"]
