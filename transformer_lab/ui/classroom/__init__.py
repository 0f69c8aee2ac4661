"""A classroom: who comes in, as whom, and the tab that the teacher and the learners have for it."""
