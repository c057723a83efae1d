"""The Helm chart: rendered by helm, valid against the schemas of Kubernetes, with commands and variables that exist.

No cluster is started here.
"""

import os
import re
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
from tasks.params import load_params
from tasks.settings import Settings
from tests.serving.test_infra import DOCKERFILE, known_variables

CHART = Path(__file__).parents[2] / "infra" / "helm" / "almanac"
HELM = Path(sys.prefix) / "bin" / "helm"
EVERYTHING = (
    *("server.autoscaling.enabled=true", "server.ingress.enabled=true", "server.ingress.tlsSecretName=tls"),
    *("vllm.enabled=true", "params=a: 1", "apiKeysSecretName=keys", "environment.ALMANAC_PROFILE=laptop"),
    *("vllm.adapters.storageClassName=shared", "vllm.adapters.size=5Gi"),
    *("imagePullSecrets[0].name=registry", "networkPolicies.ingressNamespace=front", "gateway.enabled=true"),
)
ELSEWHERE = ("mlflow.enabled=false", "prefect.enabled=false", "networkPolicies.enabled=false")

Resource = dict[str, Any]


def rendered(*values: str) -> list[Resource]:
    settings = [f"--set={value}" for value in ("store=s3://bucket/almanac", *values)]
    done = subprocess.run([HELM, "template", "al", CHART, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def pods(resources: list[Resource]) -> dict[str, Resource]:
    """What each deployment runs, by its component."""
    deployments = [resource for resource in resources if resource["kind"] == "Deployment"]
    return {each["metadata"]["name"].removeprefix("al-"): each["spec"]["template"]["spec"] for each in deployments}


def containers(resources: list[Resource]) -> dict[str, Resource]:
    return {container["name"]: container for pod in pods(resources).values() for container in pod["containers"]}


def environment(container: Resource) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


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
    started = containers(rendered(*EVERYTHING))
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]

    for name, command in {"server": "serve", "worker": "worker"}.items():
        assert started[name]["args"] == ["almanac", command]
        assert command in commands
        assert set(environment(started[name])) <= known_variables()


def test_probes_ask_by_a_host_that_is_allowed() -> None:
    """A probe names the pod's address, which the server refuses as a host."""
    server = containers(rendered())["server"]

    allowed = environment(server)["ALMANAC_ALLOWED_HOSTS"].split(",")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert "localhost" in allowed


def test_no_pod_is_root_or_keeps_what_is_missed() -> None:
    for resource in rendered(*EVERYTHING):
        # Adapters lie in MLflow's files too.
        assert (resource["kind"], resource["metadata"]["name"]) == ("PersistentVolumeClaim", "al-adapters") or (
            resource["kind"] != "PersistentVolumeClaim"
        )
        if resource["kind"] == "Deployment" and not resource["metadata"]["name"].endswith("vllm"):
            pod = resource["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            everything = (*pod.get("initContainers", []), *pod["containers"])
            assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in everything)


def test_vllm_reads_adapters_where_the_servers_fetch_them() -> None:
    resources = rendered(*EVERYTHING)
    server, vllm = (pods(resources)[name] for name in ("server", "vllm"))

    claims = [claim_at(pod, mount) for pod in (server, vllm) for mount in mounts(pod) if mount["name"] == "adapters"]
    home = re.search(r"ALMANAC_HOME=(\S+)", DOCKERFILE)
    assert home is not None
    place = str(Settings(home=Path(home[1])).layout.cache / "answerers")
    assert claims == [("al-adapters", place, False), ("al-adapters", place, True)]
    assert environment(server["containers"][0])["ALMANAC_ENDPOINT_ADAPTER_FOLDER"] == place
    (claim,) = [each["spec"] for each in resources if each["kind"] == "PersistentVolumeClaim"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("shared", "5Gi")
    # The folder above the volume is made by the home's owner, before the volume is mounted.
    (first,) = server["initContainers"]
    assert first["args"] == ["mkdir", "-p", place]
    assert [mount["mountPath"] for mount in first["volumeMounts"]] == [home[1]]


def claim_at(pod: Resource, mount: Resource) -> tuple[str, str, bool]:
    """The claim that is mounted, where, and whether it can only be read there."""
    claims = {each["name"]: each["persistentVolumeClaim"] for each in pod["volumes"] if "persistentVolumeClaim" in each}
    return claims[mount["name"]]["claimName"], mount["mountPath"], mount.get("readOnly", False)


def mounts(pod: Resource) -> list[Resource]:
    return [mount for container in pod["containers"] for mount in container["volumeMounts"]]


def test_vllm_loads_adapters_while_it_runs_and_asks_for_the_servers_key() -> None:
    vllm = containers(rendered(*EVERYTHING))["vllm"]
    options = dict(entry.partition("=")[::2] for entry in vllm["args"])

    assert "--enable-lora" in options
    assert int(options["--max-lora-rank"]) >= load_params(CHART.parents[2] / "params.yaml").fine_tuning.lora_r
    assert int(options["--max-loras"]) > 1
    assert environment(vllm)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    key = environment(vllm)["VLLM_API_KEY"]["secretKeyRef"]
    assert (key["name"], key["key"], key["optional"]) == ("almanac", "ALMANAC_ENDPOINT_API_KEY", True)
    assert key["key"] in known_variables()


@pytest.mark.parametrize(
    "values", [(), ("vllm.enabled=true", "vllm.adapters.enabled=false")], ids=["no vLLM", "by hand"]
)
def test_nothing_is_claimed_where_no_adapter_is_loaded(values: tuple[str, ...]) -> None:
    resources = rendered(*values)

    assert not [each for each in resources if each["kind"] == "PersistentVolumeClaim"]
    assert "initContainers" not in pods(resources)["server"]
    for pod in pods(resources).values():
        assert "adapters" not in {mount["name"] for mount in mounts(pod)}
    server = containers(resources)["server"]
    assert "ALMANAC_ENDPOINT_ADAPTER_FOLDER" not in environment(server)
    assert not [entry for each in containers(resources).values() for entry in each.get("args", []) if "lora" in entry]


def test_claim_that_exists_is_used() -> None:
    resources = rendered("vllm.enabled=true", "vllm.adapters.claimName=ours")

    assert not [each for each in resources if each["kind"] == "PersistentVolumeClaim"]
    for name in ("server", "vllm"):
        pod = pods(resources)[name]
        assert [claim_at(pod, mount)[0] for mount in mounts(pod) if mount["name"] == "adapters"] == ["ours"]


def test_servers_elsewhere_are_not_deployed() -> None:
    started = containers(rendered(*ELSEWHERE))

    assert sorted(started) == ["server", "worker"]
    assert not {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"} & set(environment(started["server"]))


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
