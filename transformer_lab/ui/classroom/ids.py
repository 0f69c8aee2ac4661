"""Names of the parts of the Class tab that callbacks speak of."""

PEOPLE = "class-people"
PEOPLE_TICK = "class-people-tick"
PEOPLE_SEEN = "class-people-seen"
AGAIN = "class-again"
LET_IN = "class-let-in"
CODE = "class-code"
