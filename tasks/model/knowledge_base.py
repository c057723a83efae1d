"""The parameters by which one knowledge base is trained for, and its answerers are measured."""

from tasks.index.search.request import checked_names
from tasks.params import Params


def limited_to(knowledge_base: str | None, params: Params) -> Params:
    """Return `params` for one knowledge base: its documents, and the prompt that it is asked by.

    Args:
        knowledge_base: None: that of `knowledge_bases.only`; where that is null too, all.
        params: of all.

    Raises:
        ConfigurationError: no knowledge base could have this name.
    """
    only = knowledge_base or params.knowledge_bases.only
    if only is None:
        return params
    checked_names("knowledge_base", [only])
    limited = params.knowledge_bases.model_copy(update={"only": only})
    return params.model_copy(update={"knowledge_bases": limited, "generation": params.generation.limited_to([only])})
