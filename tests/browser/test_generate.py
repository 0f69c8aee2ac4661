"""Writing, looked into: tokens by mouse and by keyboard, branches, moments of a life."""

import itertools
import re

import pytest
import torch
from playwright.sync_api import Page, expect

from steady import still
from transformer_lab.generation import SampleConfig, entropy, shaped
from transformer_lab.inspection.distribution import Top
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.writing import Written
from transformer_lab.ui.generate import xray
from waiting import until


def trained(page: Page, lab: Lab) -> None:
    """A short training to its end, then the Generate tab."""
    before = lab.trainings.current
    page.locator("label:has(.field-label:text-is('Steps')) input").fill("64")
    page.locator("#start").click()
    until(lambda: lab.trainings.current is not before and lab.trainings.current.ended)
    page.get_by_role("tab", name="Generate").click()
    expect(page.locator("#moment-label")).to_contain_text("after step 64")


def written(page: Page) -> str:
    page.locator("label:has-text('Prompt') textarea").first.fill("The ")
    page.locator("#generate").click()
    expect(page.locator("#generate-caption")).to_contain_text("done")
    return page.locator("#output").inner_text()


def check_shares(page: Page) -> None:
    """The page draws from the same shares as the sampler."""
    generator = torch.Generator().manual_seed(3)
    for size in (30, 2000):  # with and without tokens that are kept as groups
        top = Top.of(3 * torch.randn(size, generator=generator), 5)
        given = xray.token_logits(Written(token=5, text="", probability=0.0, entropy=0.0, top=top))
        for temperature, k, p in itertools.product(
            (0, 0.1, 0.8, 2.5), (0, 1, 7, 400), (1, 0.9, 0.3)
        ):
            asked = [given, temperature, k, p]
            found = page.evaluate(
                "asked => window.dash_clientside.generate.shaped(...asked)", asked
            )
            config = SampleConfig(temperature=temperature, top_k=k, top_p=p)
            shares = shaped(top.spread(), config)
            count = len(given["tokens"])
            assert found["shares"][:count] == pytest.approx(
                shares[given["tokens"]].tolist(), abs=1e-6
            )
            assert found["entropy"] == pytest.approx(entropy(shares), abs=1e-4)
            left = shares.sum() - shares[given["tokens"]].sum()
            groups = zip(found["shares"][count:], given["counts"], strict=True)
            assert sum(share * many for share, many in groups) == pytest.approx(
                float(left), abs=1e-5
            )


def test_tokens_are_looked_into_by_mouse_and_by_keyboard_and_branched_from(page: Page, lab: Lab):
    trained(page, lab)
    text = written(page)
    page.locator("#output .tok").nth(4).click()
    expect(page.locator("#picked-head")).to_contain_text("token 5")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#picked-head")).to_contain_text("token 6")
    expect(page.locator("#picked-body tbody tr")).to_have_count(10)
    check_shares(page)
    before = page.locator("#picked-body").inner_text()
    page.locator("label:has-text('Temperature') input").first.fill("0.1")
    expect(page.locator("#picked-body")).not_to_have_text(before)
    slider = page.locator(".draw-slider", has_text="Top-k").get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#picked-cut")).to_contain_text("1 of")
    expect(page.locator("label:has-text('Top-k') input").first).to_have_value("1")
    page.locator("label:has-text('Top-k') input").first.fill("0")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    page.locator("#picked-body button", has_text="branch").first.click()
    expect(page.locator("#output .tok.chosen")).to_have_count(1)
    expect(page.locator("#branches button")).to_have_count(2)
    expect(page.locator("#generate-caption")).to_contain_text("done")
    branch = page.locator("#output").inner_text()
    assert branch[:9] == text[:9]  # the prompt and five tokens
    assert branch != text
    page.locator("#branches button").first.click()
    expect(page.locator("#output .tok.chosen")).to_have_count(0)


def test_the_slider_goes_back_to_earlier_checkpoints_and_plays_it(page: Page, lab: Lab):
    trained(page, lab)
    still(page.locator("#moment-bar [role=slider]")).focus()
    page.keyboard.press("Home")
    expect(page.locator("#moment-label")).to_contain_text("after step 0")
    written(page)
    expect(page.locator("#generate-caption")).to_contain_text("after step 0")
    untrained = page.locator("#output").inner_text()
    page.locator("#play").click()
    expect(page.locator("#generate-caption")).to_contain_text(re.compile(r"after step [1-9]"))
    expect(page.locator("#generate-caption")).to_contain_text(re.compile("after step 64 .* done"))
    expect(page.locator("#play .bi-play-fill")).to_be_visible()
    assert page.locator("#output").inner_text().startswith("The ")
    assert page.locator("#output").inner_text() != untrained
