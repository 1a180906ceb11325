"""The HTML page in a browser: it loads in silence, and what is typed and clicked works."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from compare_browser import IN_BROWSER, Open, browser, opened
from synthetic_comparison import METRICS, empty, failed_run, group, sweep
from test_compare_page import BARE, HOSTILE, hostile

from chord.compare.model import Comparison, Difference
from chord.evaluation.statistics import Estimate

__all__ = ["browser", "opened"]
pytestmark = IN_BROWSER


def labels(page: Any) -> list[str]:
    return list(page.locator("#rows tr th .name").all_text_contents())


def column(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def test_sections_are_filled_and_the_best_group_stands_first(opened: Open) -> None:
    comparison = sweep()
    page = opened(comparison)
    assert page.title() == "schedules and weightings on the test bed"
    assert page.locator("#top dd").all_text_contents()[:4] == ["45", "9", "5 (0–4)", "0"]
    best = max(comparison.groups, key=lambda one: one.final[METRICS[0]].mean)
    assert labels(page)[0] == best.label
    first = page.locator("#rows tr").first
    assert "★" in first.text_content()
    assert f"{best.final[METRICS[0]].mean:.3f}" in first.text_content()
    for section in (
        "#curves path.line", "#alpha path.line", "#scatter .whisker", "#heat td .value",
        "#settings tbody tr", "#answers .card", "#runs tbody tr",
    ):  # fmt: skip
        assert page.locator(section).count() > 1, section
    assert page.locator("#heat td .value").count() == 9
    assert "run.json is missing" in page.locator("#left-out").text_content()


def test_half_an_interval_is_its_longer_side_and_fewer_pairs_are_said(opened: Open) -> None:
    comparison = sweep(schedules=2, weightings=2)
    lopsided = Estimate(mean=0.5, low=0.2, high=0.6, n=5)
    change = Difference(estimate=replace(lopsided, n=3), p=0.1, p_holm=0.1)
    first = comparison.groups[0]
    first = replace(first, final={**first.final, METRICS[0]: lopsided},
                    differences={**first.differences, METRICS[0]: change})  # fmt: skip
    page = opened(replace(comparison, groups=[first, *comparison.groups[1:]]))
    row = page.locator("#rows tr", has_text=first.label).locator("td.number .half")
    assert row.nth(0).text_content() == "± 0.300"
    assert row.nth(1).text_content() == "± 0.300 (n 3)"
    assert "± 0.300, n 5" in page.locator("#heat td").first.text_content()


def test_a_click_and_the_keyboard_sort_and_say_so(opened: Open) -> None:
    comparison = sweep()
    page = opened(comparison)
    by = sorted(comparison.groups, key=lambda one: one.final[METRICS[3]].mean)
    column(page, "test/expert_nll").click()
    assert labels(page) == [one.label for one in by]
    head = page.locator("th[aria-sort]")
    assert head.count() == 1
    assert head.get_attribute("aria-sort") == "ascending"
    column(page, "test/expert_nll").focus()
    page.keyboard.press("Enter")
    assert labels(page) == [one.label for one in reversed(by)]
    assert head.get_attribute("aria-sort") == "descending"
    # From one header to the next with the tabulator, and sorted with the space bar.
    column(page, "group").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert head.get_by_role("button").get_attribute("aria-label") == "test/target_accuracy"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_text_and_options_filter_the_table_and_the_heat_map(opened: Open) -> None:
    page = opened(sweep())
    page.get_by_label("Filter").fill("cosine PHI")
    assert labels(page) == ["schedule=cosine weighting=phi"]
    assert page.locator("#passing").text_content() == "1 of 9 groups"
    page.get_by_label("Filter").fill("nothing like it")
    assert "No group passes" in page.locator("#rows").text_content()
    page.get_by_role("button", name="Clear filter").click()
    assert len(labels(page)) == 9
    page.get_by_label("weighting").first.select_option("phi")
    assert [label.split()[1] for label in labels(page)] == ["weighting=phi"] * 3
    assert page.locator("#heat td .value").count() == 3


def test_the_metric_selector_draws_again_and_hovering_shows_values(opened: Open) -> None:
    page = opened(sweep())
    line = page.locator("#curves path.line").first
    before = line.get_attribute("d")
    page.locator("#curves").get_by_label("Metric").select_option("rollout/reward")
    assert line.get_attribute("d") != before
    assert "rollout/reward at step 99" in page.locator("#curves .at").text_content()
    page.locator("#curves svg[role=img]").hover()
    assert "at step 99" not in page.locator("#curves .at").text_content()
    assert "±" in page.locator("#curves .key output").first.text_content()
    page.locator("#curves .plot").focus()
    page.keyboard.press("Home")
    assert "at step 0" in page.locator("#curves .at").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#curves .plot").get_attribute("aria-valuenow") == "1"


def test_a_legend_key_hides_its_line_and_a_row_picks_its_group(opened: Open) -> None:
    page = opened(sweep())
    lines = page.locator("#curves path.line")
    assert lines.count() == 9
    page.locator("#curves .key").first.click()
    assert lines.count() == 8
    assert page.locator("#curves .key").first.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Drop all").click()
    assert lines.count() == 0
    assert "No group is picked" in page.locator("#answers").text_content()
    page.get_by_label("pick schedule=cosine weighting=phi").focus()
    page.keyboard.press("Space")
    assert lines.count() == 1
    assert page.locator("#runs tbody tr").count() == 5
    # Expert, base model, and the group's answer with its verdict in words.
    cards = page.locator("#answers .cards .card").all_text_contents()
    assert len(cards) == 3
    assert "✕ wrong" in cards[2]
    page.get_by_role("button", name="Next").click()
    assert "✓ right" in page.locator("#answers .cards .card").nth(2).text_content()


def test_points_of_the_scatter_are_read_and_picked_by_mouse_and_keyboard(opened: Open) -> None:
    comparison = sweep(schedules=4)
    page = opened(comparison)
    worst = min(comparison.groups, key=lambda one: one.final[METRICS[0]].mean)
    page.get_by_label(f"pick {worst.label}").set_checked(False)
    page.locator("#scatter .plot").focus()
    page.keyboard.press("ArrowRight")
    said = page.locator("#scatter [role=status]")
    assert said.text_content().startswith(worst.label)
    assert f"test/target_accuracy {worst.final[METRICS[0]].mean:.3f} [" in said.text_content()
    page.keyboard.press("Enter")
    assert page.get_by_label(f"pick {worst.label}").is_checked()
    page.locator("#scatter .ring").hover(force=True)
    assert said.text_content().startswith(worst.label)
    page.locator("#scatter select").nth(1).select_option("3")
    assert "test/expert_nll" in page.locator("#scatter svg[role=img]").get_attribute("aria-label")


def test_the_table_shows_the_best_validation_and_can_leave_out_differences(opened: Open) -> None:
    page = opened(sweep())
    page.get_by_label("differences to the baseline").uncheck()
    heads = page.locator(".groups thead button")
    names = [head.get_attribute("aria-label") for head in heads.all()]
    assert names[2:-4] == list(METRICS)
    page.get_by_label("Numbers").select_option("best")
    names = [head.get_attribute("aria-label") for head in heads.all()]
    assert names[2:-4] == ["val/target_accuracy"]


def test_sixteen_groups_are_the_most_that_can_be_picked(opened: Open) -> None:
    page = opened(sweep(schedules=5, weightings=5, seeds=1))
    page.get_by_role("button", name="Pick the first 16 rows").click()
    box = page.locator("#rows input").nth(16)
    box.click()
    assert not box.is_checked()
    assert "Drop one first" in page.locator("#picks-note").text_content()
    assert page.locator("#curves path.line").count() == 16


@pytest.mark.parametrize("comparison", [sweep(), hostile(HOSTILE * 5)], ids=["sweep", "hostile"])
def test_a_phone_does_not_scroll_sideways(opened: Open, comparison: Comparison) -> None:
    page = opened(comparison, is_mobile=True, has_touch=True, color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function("document.documentElement.clientWidth === 360")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    # The plots follow the width.
    page.wait_for_function(
        "[...document.querySelectorAll('.plot > svg')].every((one) => one.clientWidth < 360)"
    )


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (empty(), "There is nothing to compare"),
        (empty(metrics=METRICS, groups=[group([failed_run(0)], "a", {})]), "must be above 0"),
        (empty(metrics=METRICS, groups=[BARE]), "No run recorded a curve"),
        (empty(metrics=METRICS, groups=[*sweep(seeds=1).groups, BARE]), "one seed"),
        (hostile(HOSTILE), "</script><script>alert(1)</script>"),
    ],
    ids=["empty", "failed", "bare", "one seed", "hostile"],
)
def test_bad_input_makes_a_clear_page(opened: Open, comparison: Comparison, said: str) -> None:
    page = opened(comparison)
    assert said in page.locator("body").inner_text()
    assert page.locator("main script, main img").count() == 0


# How many elements an action makes, or makes anew, and the page shows.
MADE = """([kind, selector, value]) => {
  const seen = new MutationObserver(() => {});
  seen.observe(document.body, { childList: true, subtree: true });
  const node = document.querySelector(selector);
  if (kind === "click") node.click();
  else {
    if (kind === "type") node.value = value;
    else node.selectedIndex = (node.selectedIndex + 1) % node.options.length;
    node.dispatchEvent(new Event(kind === "type" ? "input" : "change"));
  }
  const added = seen.takeRecords().flatMap((record) => [...record.addedNodes]);
  return added.reduce((sum, one) => sum + 1 + (one.querySelectorAll?.("*").length ?? 0), 0);
}"""


def test_what_an_action_makes_does_not_grow_with_the_runs(opened: Open) -> None:
    made = {}
    for rates in (10, 40):
        page = opened(sweep(schedules=5, weightings=5, rates=rates, seeds=1, steps=500))
        made[rates] = [
            page.evaluate(MADE, action)
            for action in (
                ["click", ".groups thead button[aria-label='test/target_accuracy']", ""],
                ["type", "#search", "cosine"],
                ["choose", "#curves select", ""],
            )
        ]
    assert all(made[10]), made
    # But for a button that shows the last few.
    assert made[40] == pytest.approx(made[10], abs=2)
