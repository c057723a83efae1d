"""The Helm chart: rendered by helm, valid against the schemas of Kubernetes, with commands and variables that exist.

No cluster is started here.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate
from typer.main import get_command

import cli
from tests.serving.test_infra import known_variables

CHART = Path(__file__).parents[2] / "infra" / "helm" / "almanac"
HELM = Path(sys.prefix) / "bin" / "helm"
EVERYTHING = (
    *("server.autoscaling.enabled=true", "server.ingress.enabled=true", "server.ingress.tlsSecretName=tls"),
    *("vllm.enabled=true", "params=a: 1", "apiKeysSecretName=keys", "environment.ALMANAC_PROFILE=laptop"),
    *("imagePullSecrets[0].name=registry", "networkPolicies.ingressNamespace=front"),
)
ELSEWHERE = ("mlflow.enabled=false", "prefect.enabled=false", "networkPolicies.enabled=false")

Resource = dict[str, Any]


def rendered(*values: str) -> list[Resource]:
    settings = [f"--set={value}" for value in ("store=s3://bucket/almanac", *values)]
    done = subprocess.run([HELM, "template", "al", CHART, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def containers(resources: list[Resource]) -> dict[str, Resource]:
    pods = (resource["spec"]["template"]["spec"] for resource in resources if resource["kind"] == "Deployment")
    return {container["name"]: container for pod in pods for container in pod["containers"]}


@pytest.mark.parametrize("values", [(), EVERYTHING, ELSEWHERE], ids=["default", "everything", "servers elsewhere"])
def test_resources_are_valid(values: tuple[str, ...]) -> None:
    resources = rendered(*values)

    for resource in resources:
        validate(resource, "1.37", strict=True)
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in resources]
    assert len(names) == len(set(names)) >= 5


def test_chart_without_a_store_says_what_is_missing() -> None:
    done = subprocess.run([HELM, "template", "al", CHART], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "store must be set" in done.stderr


def test_commands_and_variables_exist() -> None:
    pods = containers(rendered(*EVERYTHING))
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]

    for name, command in {"server": "serve", "worker": "worker"}.items():
        assert pods[name]["args"] == ["almanac", command]
        assert command in commands
        assert {entry["name"] for entry in pods[name]["env"]} <= known_variables()


def test_probes_ask_by_a_host_that_is_allowed() -> None:
    """A probe names the pod's address, which the server refuses as a host."""
    server = containers(rendered())["server"]

    allowed = next(entry["value"] for entry in server["env"] if entry["name"] == "ALMANAC_ALLOWED_HOSTS").split(",")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert "localhost" in allowed


def test_no_pod_is_root_or_keeps_what_is_missed() -> None:
    for resource in rendered(*EVERYTHING):
        assert resource["kind"] != "PersistentVolumeClaim"
        if resource["kind"] == "Deployment" and not resource["metadata"]["name"].endswith("vllm"):
            pod = resource["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in pod["containers"])


def test_servers_elsewhere_are_not_deployed() -> None:
    pods = containers(rendered(*ELSEWHERE))

    assert sorted(pods) == ["server", "worker"]
    assert not {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"} & {entry["name"] for entry in pods["server"]["env"]}
