"""The adapters of a vLLM server: which it serves, and its API that loads and unloads one while it runs.

These paths are vLLM's own (docs.vllm.ai, "LoRA Adapters"), there only with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True. A
status of them means different things by what the body says: 404 is a server without the API, or a folder that the
server cannot read; 500 a server in trouble, or its engine's no to this adapter.
"""

from collections.abc import Mapping
from typing import Any

import httpx2

from tasks.answer.generators.chat_client import CONNECT_SECONDS, MAX_ERROR_CHARACTERS
from tasks.answer.generators.endpoint import with_version
from tasks.errors import ConfigurationError, DependencyError
from tasks.settings import Settings

LIST_SECONDS = 10.0
"""For the list of models, which is asked for at each poll: whoever follows the aliases does not wait longer."""
_NO_SUCH_PATH = frozenset({404, 405, 501})
_MAY_HEAL = frozenset({429, 502, 503, 504})


class AdapterApi:
    """The adapters of one endpoint. Keeps nothing between two calls."""

    def __init__(self, endpoint: str, settings: Settings) -> None:
        """Prepare the requests; nothing is asked yet.

        Args:
            endpoint: base URL, with or without `/v1`.
            settings: the endpoint's key and the time that a request may take.
        """
        self._address = with_version(endpoint)
        key = settings.endpoint_api_key
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._load_seconds = settings.request_timeout_seconds

    def served(self) -> dict[str, str]:
        """Return where each model that the endpoint serves was loaded from, by its name; empty where it does not say.

        Raises:
            ConfigurationError: it refuses the request.
            DependencyError: it does not answer.
        """
        reply = self._ask("GET", "models", seconds=LIST_SECONDS)
        if not reply.is_success:
            raise self._refusal(reply, "must list its models", "check its address and ALMANAC_ENDPOINT_API_KEY")
        try:
            return {str(entry["id"]): str(entry.get("root") or "") for entry in reply.json()["data"]}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DependencyError(
                f"generation.endpoint {self._address} must list its models as OpenAI's API does, found "
                f"{_one_line(reply.text)}; check its address"
            ) from error

    def load(self, name: str, path: str) -> None:
        """Let the endpoint load an adapter.

        Args:
            name: by which it is asked for then.
            path: its folder as the endpoint sees it.

        Raises:
            ConfigurationError: the endpoint cannot load adapters, finds none at `path`, or not one that it can run.
            DependencyError: it does not answer, or is in trouble.
        """
        body = {"lora_name": name, "lora_path": path}
        reply = self._ask("POST", "load_lora_adapter", body, seconds=self._load_seconds)
        # Another server of this installation may have been faster.
        if reply.is_success or "already been loaded" in reply.text:
            return
        if _has_no_api(reply, name):
            raise self._refusal(
                reply,
                f"must serve {name!r} or load it when it is asked to",
                "load it there by hand, or start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
            )
        if reply.status_code in _NO_SUCH_PATH:
            raise self._refusal(
                reply,
                f"must find the adapter {name!r} in {path}",
                "let the endpoint's machine read the folder cache/answerers of the home, and set "
                "ALMANAC_ENDPOINT_ADAPTER_FOLDER to its path there",
            )
        raise self._refusal(
            reply,
            f"must load the adapter {name!r}",
            "start it with the base model of this answerer and a sufficient --max-lora-rank, or promote another",
        )

    def unload(self, name: str) -> bool:
        """Let the endpoint forget an adapter; return whether it did.

        Raises:
            DependencyError: it does not answer.
        """
        return self._ask("POST", "unload_lora_adapter", {"lora_name": name}, seconds=LIST_SECONDS).is_success

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None, *, seconds: float) -> httpx2.Response:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        options: dict[str, Any] = {} if body is None else {"json": dict(body)}
        try:
            return httpx2.request(method, f"{self._address}/{path}", headers=self._headers, timeout=timeout, **options)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DependencyError(
                f"generation.endpoint {self._address} must answer, found {type(error).__name__}: {_one_line(error)}; "
                "start it, or set generation.endpoint to null"
            ) from error

    def _refusal(self, reply: httpx2.Response, wish: str, remedy: str) -> ConfigurationError | DependencyError:
        refusal = DependencyError if _is_in_trouble(reply) else ConfigurationError
        return refusal(
            f"generation.endpoint {self._address} {wish}, found status {reply.status_code}: {_said(reply)}; {remedy}"
        )


def _has_no_api(reply: httpx2.Response, name: str) -> bool:
    """Say whether the path itself is missing: what is said of an adapter names it."""
    return reply.status_code in _NO_SUCH_PATH and name not in reply.text


def _is_in_trouble(reply: httpx2.Response) -> bool:
    """Say whether the same request may pass later.

    For instance "Call to add_lora method failed: … LoRA rank 64 is greater than max_lora_rank 16" will not.
    """
    status = reply.status_code
    return status in _MAY_HEAL or (status >= httpx2.codes.INTERNAL_SERVER_ERROR and "lora" not in reply.text.lower())


def _said(reply: httpx2.Response) -> str:
    try:
        message = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = reply.text
    return _one_line(message)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:MAX_ERROR_CHARACTERS]
