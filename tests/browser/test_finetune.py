"""Fine-tuning in a browser: from a base to what it and the tuned model write, side by side."""

from playwright.sync_api import Page, expect

from transformer_lab.lab.lab import Lab
from waiting import until

ANOTHER_TEXT = "def total(numbers):\n    return sum(numbers)\n\n" * 60


def test_a_base_learns_from_another_text_and_both_write_side_by_side(
    page: Page, lab: Lab, model: str
):
    lab.texts.add(ANOTHER_TEXT.encode(), "sums", "a test")
    page.reload()
    page.get_by_role("tab", name="Fine-tune").click()
    expect(page.locator("#finetune-base")).to_contain_text(model)
    page.locator("#finetune-base").select_option(model)
    page.locator("#finetune-text").select_option(label="sums")
    field = ".pane.finetune .field:has(> label .field-label:text-is('{}'))"
    rank = page.locator(field.format("Rank"))
    rank.locator("input").fill("4096")
    rank.locator("input").blur()
    expect(rank.locator(".field-error")).to_contain_text("choose a number from 1 to 1,024")
    rank.locator("input").fill("1000")
    expect(rank.locator(".field-error")).to_contain_text("choose at most")
    rank.locator("input").fill("2")
    expect(page.locator("#finetune-cost")).to_contain_text("numbers learn")
    page.locator(f"{field.format('Steps')} input").fill("40")
    page.locator("#finetune-start").click()
    until(lambda: lab.trainings.current.trained and lab.trainings.current.ended)
    tuned = lab.trainings.current.status.run_id
    expect(page.locator("#finetune-shown")).to_have_value(tuned)
    expect(page.locator("#finetune-sum")).to_contain_text("after step 40")
    expect(page.locator("#finetune-sum")).to_contain_text("Old text:")
    expect(page.locator("#finetune-changed")).to_contain_text("Of 2 directions")
    page.locator("#finetune-prompt").fill("def ")
    page.locator("#finetune-write").click()
    expect(page.locator("#finetune-text-1")).to_contain_text("def ")
    expect(page.locator("#finetune-text-2")).to_contain_text("def ")
    until(lambda: len(page.locator("#finetune-text-2").inner_text()) > 150)
    base, after = (page.locator(f"#finetune-text-{k}").inner_text() for k in (1, 2))
    assert base != after
