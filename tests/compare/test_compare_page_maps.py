"""The heat map of the page is that of the picture, and other rows and columns are judged alike."""

from __future__ import annotations

from compare_browser import IN_BROWSER, Open, browser, opened
from test_compare_maps import PRESETS, each_case

from chord.compare.grouping import compare
from chord.compare.model import Run

__all__ = ["browser", "opened"]
pytestmark = IN_BROWSER


@each_case
def test_the_page_has_the_same_maps(
    opened: Open, runs: list[Run], titles: list[str], note: str | None
) -> None:
    page = opened(compare(runs))
    tables = page.locator("#heat table")
    assert tables.count() == len(titles)
    assert tables.locator("caption").all_text_contents() == [title for title in titles if title]
    assert all(table.locator("td .value").count() == 4 for table in tables.all())
    said = page.locator("#heat").inner_text()
    assert (note or "") in said
    if titles == ["weighting.normalize=none", "weighting.normalize=mean1"]:
        # A filter leaves one value of it, and nothing else to tell.
        page.get_by_label("weighting.normalize").first.select_option("none")
        assert (tables.count(), tables.locator("caption").count()) == (1, 0)


def test_other_rows_and_columns_are_judged_alike(opened: Open) -> None:
    page = opened(compare(PRESETS))
    tables = page.locator("#heat table")
    assert tables.count() == 0
    # A preset explains all its settings.
    page.locator("#heat").get_by_label("Rows").select_option("experiment")
    assert tables.count() == 1
    assert tables.locator("td .value").count() == 5
