"""A classroom: a lab for each person, in one home and on one worker."""
