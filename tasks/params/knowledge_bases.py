"""Which knowledge bases have an answerer of their own: a block of `params.yaml`."""

from tasks.params.sources import Block, Name


class KnowledgeBasesParams(Block):
    """Knowledge bases, each by the name that sources give it.

    `answerers`: a retrain trains an answerer for each of these too. `only`: training sets and evaluation are made of
    the documents of this one alone; null: of all. `almanac retrain --knowledge-base` sets it.
    """

    answerers: tuple[Name, ...] = ()
    only: Name | None = None
