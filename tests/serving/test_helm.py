"""The Helm chart: rendered by helm, valid against the schemas of Kubernetes, with commands and variables that exist.

No cluster is started here.
"""

import os
import shutil
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
    *("imagePullSecrets[0].name=registry", "networkPolicies.ingressNamespace=front", "gateway.enabled=true"),
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


def test_gateway_is_the_one_way_in_and_asks_what_the_site_of_nginx_asks() -> None:
    resources = {(each["kind"], each["metadata"]["name"]): each for each in rendered(*EVERYTHING)}

    route = resources["Ingress", "al-server"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert route == {"name": "al-gateway", "port": {"name": "http"}}
    for component in ("server", "mlflow", "prefect"):
        (rule,) = resources["NetworkPolicy", f"al-{component}"]["spec"]["ingress"]
        assert [list(each) for each in rule["from"]] == [["podSelector"]]
    (front,) = resources["NetworkPolicy", "al-gateway"]["spec"]["ingress"]
    assert front["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "front"}
    site = (CHART.parents[1] / "nginx" / "almanac.conf").read_text(encoding="utf-8")
    conf = resources["ConfigMap", "al-gateway"]["data"]["default.conf"]
    for name, count in {"auth_request /almanac-allowed;": 2, 'proxy_set_header Cookie "";': 2, "internal;": 1}.items():
        assert conf.count(name) == site.count(name) == count
    assert not {"ssl", "127.0.0.1", "ask.example"} & set(conf.replace(";", " ").split())


def test_gateway_is_what_nginx_reads(tmp_path: Path) -> None:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx must be installed for this test, found none; apt-get install nginx")
    maps = [each for each in rendered(*EVERYTHING) if each["metadata"]["name"] == "al-gateway" and "data" in each]
    site = maps[0]["data"]["default.conf"]
    for component in ("server", "mlflow", "prefect"):  # names of the cluster mean nothing here
        site = site.replace(f"al-{component}:", "127.0.0.1:")
    (tmp_path / "site.conf").write_text(site, encoding="utf-8")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}\nhttp {{ include site.conf; }}\n"
    )
    command = [program, "-t", "-e", f"{tmp_path}/error.log", "-p", str(tmp_path), "-c", f"{tmp_path}/nginx.conf"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_gateway_without_what_it_stands_before_is_refused() -> None:
    values = ["--set=store=s3://bucket/almanac", "--set=gateway.enabled=true", "--set=mlflow.enabled=false"]
    done = subprocess.run([HELM, "template", "al", CHART, *values], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "needs mlflow.enabled and prefect.enabled" in done.stderr
