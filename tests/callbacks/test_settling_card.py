"""The card of settling on the Train tab, and its research recipes, without a browser."""


def test_only_models_that_settle_have_a_card_of_it_on_the_train_tab(page, lab, until):
    def card():
        page.fire("settling-seen.data", "settling-tick.n_intervals")
        return page.get("settling-card", "hidden") is False

    page.values["tabs", "active_tab"] = "Train"
    page.click("start")
    until(lambda: lab.trainings.current is not None and lab.trainings.current.ended)
    assert not card()
    page.set({"model.feedforward": "pc"})
    page.click("start")
    until(
        lambda: (
            lab.trainings.current.setup.model.feedforward == "pc" and lab.trainings.current.ended
        )
    )
    until(card)
    figure = page.get("settling-chart", "children")["props"]["figure"]
    assert [trace["name"] for trace in figure["data"]] == ["layer 1"]
    energies = figure["data"][0]["y"]
    assert energies == sorted(energies, reverse=True)
    assert page.text("settling-step") == "after step 40"


def test_research_recipes_stand_under_their_group(visited):
    labels = [option["label"] for option in visited.get("recipe", "options")]
    assert "Quick start" in labels
    assert "Research · PC feed-forward" in labels
