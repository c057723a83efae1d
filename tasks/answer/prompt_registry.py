"""Prompts in MLflow's prompt registry: a version for each wording, found again by its digest."""

from typing import TYPE_CHECKING, Any

from tasks.answer.prompt import Prompt, load_prompt
from tasks.params import GenerationParams
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings
from tasks.tenant import of_tenant

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST = "digest"


def register_prompts(settings: Settings, params: GenerationParams) -> list[str]:
    """Register the prompts that `generation` names; return `prompts:/name/version` of each.

    Raises:
        ConfigurationError: a prompt does not exist.
        DependencyError: MLflow does not answer.
    """
    prompts = [load_prompt(name) for name in sorted({params.prompt, *params.prompts.values()})]
    with mlflow_client(settings) as client:
        return [f"prompts:/{registry_name(prompt)}/{registered(client, prompt)}" for prompt in prompts]


def registry_name(prompt: Prompt) -> str:
    """Return the name of a prompt in the registry."""
    return of_tenant(f"almanac-{prompt.name}")


def registered(client: "MlflowClient", prompt: Prompt) -> int:
    """Return the version of this wording, a new one where it has none."""
    name = registry_name(prompt)
    versions = client.search_prompt_versions(name) if client.get_prompt(name) else []
    version = next((entry for entry in versions if entry.tags.get(DIGEST) == prompt.digest), None)
    if version is None:
        version = client.register_prompt(name, _template(prompt), tags={DIGEST: prompt.digest})
    return int(version.version)


def _template(prompt: Prompt) -> list[dict[str, Any]] | str:
    """Return as MLflow writes variables, `{{name}}`."""
    user = prompt.user.replace("{passages}", "{{passages}}").replace("{question}", "{{question}}")
    if not prompt.system:
        return user
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]
