"""Tell people, through Apprise: mail, Slack, Teams, a webhook and more, by one address each. Knows no Prefect."""

import logging

from tasks.settings import Settings

logger = logging.getLogger(__name__)


def tell_people(settings: Settings, title: str, body: str) -> bool:
    """Send a message to every address of ALMANAC_ALERTS; return whether all took it.

    Where there is no address, or one refuses, the log has the message: nothing else waits for it.
    """
    logger.warning("%s: %s", title, body)
    addresses = settings.alerts.get_secret_value().split() if settings.alerts else []
    if not addresses:
        return True
    from apprise import Apprise

    sender = Apprise()
    # An address may hold a password: neither it nor what its server said goes into the log.
    are_valid = [sender.add(address) for address in addresses]
    is_sent = bool(sender.notify(body=body, title=title)) and all(are_valid)
    if not is_sent:
        logger.warning("not everybody of ALMANAC_ALERTS could be told; check the addresses: docs/operations.md")
    return is_sent
