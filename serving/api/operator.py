"""The routes of the operator's commands: the fields of `ask`, `search` and `status` with `--json`.

Open to the key in the home alone, and from this machine alone. The operator asks as any group, as the direct command
lets them.
"""

import asyncio
import hmac
import json
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from flows.status import system_status
from serving.api.auth import Asker
from serving.api.errors import ApiError
from serving.api.pending import answered, begin
from serving.api.search_body import OperatorSearch
from serving.api.service import ChatQuestion, Service
from serving.local.client import PREFIX
from serving.local.record import LOOPBACK
from tasks.answer.assistant import reply_json
from tasks.answer.conversation import Turn


class AskBody(BaseModel):
    """What `almanac ask` asks."""

    model_config = ConfigDict(extra="forbid")

    question: str
    groups: tuple[str, ...] = ()
    knowledge_bases: tuple[str, ...] = ()


def local_router(service: Service, key: str) -> APIRouter:
    """Return the routes, opened by `key`."""

    def opened(request: Request) -> None:
        host = request.client.host if request.client else ""
        given = request.headers.get("authorization", "")
        if host not in LOOPBACK or not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            # As any path that there is not: nobody else need know of it.
            raise ApiError(
                404, f"no such path: {request.url.path[:100]}; `GET /openapi.json` lists those that there are"
            )

    router = APIRouter(prefix=PREFIX, dependencies=[Depends(opened)], include_in_schema=False)

    @router.post("/ask")
    async def ask(body: AskBody, request: Request) -> Response:
        operator = Asker(service.identity.pseudonym("operator"), body.groups)
        asked = ChatQuestion(Turn(body.question), body.knowledge_bases, operator, session=None)
        return _printed(reply_json(await answered(begin(service, asked, is_streamed=False), request)))

    @router.post("/search")
    async def search(body: OperatorSearch) -> Response:
        with service.searches.one():
            loop = asyncio.get_running_loop()
            operator, wanted = service.identity.pseudonym("operator"), body.request(body.groups)
            reply = await loop.run_in_executor(service.search_threads, service.search, wanted, operator)
        return _printed(asdict(reply))

    @router.post("/status")
    async def status() -> Response:
        return _printed(await asyncio.to_thread(lambda: asdict(system_status(service.params, service.settings))))

    return router


def _printed(fields: dict[str, Any]) -> Response:
    """The fields in the form that the command gives times."""
    return Response(json.dumps(fields, default=str), media_type="application/json")
