"""A command's question to the server of the home, by the standard library: other clients cost more to import than it.

Any failure means that the command answers by itself: it then says what is wrong better than the server may.
"""

import http.client
import json
import logging
from collections.abc import Mapping
from typing import Any

from serving.local.record import read_record
from tasks.params import Params
from tasks.settings import Settings

logger = logging.getLogger(__name__)

PREFIX = "/local"
_CONNECT_SECONDS = 2.0


def ask_server(path: str, body: Mapping[str, Any], params: Params, settings: Settings) -> dict[str, Any] | None:
    """Return what the running server answers at `/local/<path>`; None where there is none, or it cannot."""
    record = read_record(params, settings) if settings.use_server else None
    if record is None:
        return None
    connection = http.client.HTTPConnection(record.host, record.port, timeout=_CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {record.key}", "Content-Type": "application/json"}
    try:
        connection.connect()
        connection.sock.settimeout(settings.request_timeout_seconds)
        connection.request("POST", f"{PREFIX}/{path}", json.dumps(body, default=str), headers)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != http.client.OK:
            logger.info("the server of %s answered %d: doing without it", record.home, reply.status)
            return None
        fields: dict[str, Any] = json.loads(content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.info("the server of %s does not answer (%s): doing without it", record.home, error)
        return None
    finally:
        connection.close()
    return fields
