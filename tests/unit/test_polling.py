"""What a poll sends of the parts of the page."""

from dash import no_update

from transformer_lab.ui.polling import changed


def test_only_what_changed_is_sent_and_the_page_keeps_a_digest_of_all():
    first, seen = changed({"loss": 2.0, "state": "training"}, None)
    assert first == {"loss": 2.0, "state": "training"}
    again, same = changed({"loss": 2.0, "state": "training"}, seen)
    assert (again, same) == ({"loss": no_update, "state": no_update}, seen)
    later, then = changed({"loss": 1.5, "state": "training"}, seen)
    assert later == {"loss": 1.5, "state": no_update}
    assert then["state"] == seen["state"]
    assert then["loss"] != seen["loss"]


def test_a_part_left_as_it_is_stays_known_and_an_odd_cursor_means_all_is_new():
    _, seen = changed({"loss": 2.0}, {})
    assert changed({"loss": no_update}, seen) == ({"loss": no_update}, seen)
    for odd in ("", 3, [1, 2], {"loss": "other"}):
        assert changed({"loss": 2.0}, odd)[0] == {"loss": 2.0}
