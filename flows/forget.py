"""Taking documents back: from the index, snapshots, training sets, caches and traces, with a receipt."""

from prefect import flow

from tasks.erasure.erase import erase
from tasks.erasure.receipt import Receipt
from tasks.erasure.subject import Wanted
from tasks.lease import hold_stores
from tasks.params import load_params
from tasks.settings import Settings


@flow(name="forget", persist_result=False)
def forget(wanted: Wanted, wait_seconds: float = 0) -> Receipt:
    """Erase what is named, whatever it takes.

    Args:
        wanted: what is to be forgotten.
        wait_seconds: how long to wait for another writer.
    """
    settings = Settings()
    params = load_params(settings.params, settings.profile)
    with hold_stores(settings, purpose="forget", wait_seconds=wait_seconds) as lease:
        return erase(settings, params, wanted, lease)
