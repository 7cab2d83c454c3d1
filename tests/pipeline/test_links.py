"""Links between pages, from the text files to what is staged."""

import pytest

from tools.links import rewrite

EXECUTED = {"part/curve", "part/deep/point", "sums"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("[a](curve.md)", "[a](curve.ipynb)"),
        ("[a](curve.md#fig) [b](../sums.md)", "[a](curve.ipynb#fig) [b](../sums.ipynb)"),
        ("[a](../index.md), [](deep/point.md)", "[a](../index.md), [](deep/point.ipynb)"),
        ("[a][1]\n\n[1]: ../sums.md#x", "[a][1]\n\n[1]: ../sums.ipynb#x"),
        ("[a](https://example.org/curve.md) [b](#curve.md)", "[a](https://example.org/curve.md) [b](#curve.md)"),
        ('[a](curve.md "title")', '[a](curve.ipynb "title")'),
    ],
)
def test_links_follow_the_staged_file(text: str, result: str) -> None:
    assert rewrite(text, "part/other", "part/other", EXECUTED) == result


def test_a_page_that_runs_a_chapter_of_another_folder_keeps_its_links() -> None:
    assert rewrite("[a](curve.md) [b](../index.md)", "part/point", "elsewhere/x/point", EXECUTED) == (
        "[a](../../part/curve.ipynb) [b](../../index.md)"
    )
