"""reStructuredText becomes Markdown, and no word of it is lost."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.parsing.rst import rst_to_markdown
from tests.corpus.parse_world import document

RST = """
=======
Brewing
=======

.. image:: https://example.org/badge.svg
   :alt: build

Steps
-----

See `the guide
<https://example.org>`__ first, |badge|_ `green tea`_, leaves_, :ref:`more <x>`, ``leaves_``::

  $ brew

  >>> brew("tea")

* item::

    in the list

  more of it

>>> 1 + 1
2

.. code-block:: python
   :linenos:

   x = 1

.. note:: Hot.

.. list-table:: Times

   * - Grün
     - 2 µs

====== ======
Name   Time
====== ======
Grün   2 µs
====== ======

Notes
-----
:author: me

.. a comment

Done.

.. |badge| image:: https://example.org/b.svg
.. _badge: https://example.org/b
.. _green tea: https://example.org/green
.. _leaves: https://example.org/leaves
"""

RST_AS_MARKDOWN = """# Brewing

## Steps

See [the guide](https://example.org) first,  [green tea](https://example.org/green), \
[leaves](https://example.org/leaves), `more`, `leaves_`:

```
$ brew

>>> brew("tea")
```

* item:

```
in the list
```

  more of it

```pycon
>>> 1 + 1
2
```

```python
x = 1
```

**Note:** Hot.

Times

* - Grün
  - 2 µs

```
====== ======
Name   Time
====== ======
Grün   2 µs
====== ======
```

## Notes

**author**: me

Done.
"""


def test_restructured_text_becomes_markdown() -> None:
    assert rst_to_markdown(RST) == (RST_AS_MARKDOWN, len("a comment"))


@pytest.mark.timeout(10)
def test_restructured_text_that_nests_without_end_keeps_its_words() -> None:
    nested = "\n\n".join(f"{' ' * depth}.. note:: n{depth}" for depth in range(1300))

    assert "n1299" in rst_to_markdown(nested)[0]


def test_a_file_of_restructured_text_becomes_a_document(tmp_path: Path) -> None:
    found = document(tmp_path, "a.rst", RST)

    assert (found.title, found.text) == ("Brewing", RST_AS_MARKDOWN.rstrip())


@given(st.text(st.sampled_from("= \n-abé_`<>.:*|"), max_size=120))
def test_any_restructured_text_is_converted(text: str) -> None:
    rst_to_markdown(text)


@given(st.lists(st.text(st.sampled_from("abc XYZ7é"), min_size=1), max_size=10))
def test_prose_in_restructured_text_keeps_its_words(lines: list[str]) -> None:
    assert rst_to_markdown("\n".join(lines))[0].split() == "\n".join(lines).split()
