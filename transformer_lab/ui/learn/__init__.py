"""The Learn tab: lessons that drive the page, checks on the learner's own run, and a tour."""
