"""Names of the parts of the Class tab that callbacks speak of."""

PEOPLE = "class-people"
PEOPLE_TICK = "class-people-tick"
PEOPLE_SEEN = "class-people-seen"
USED = "class-used"
CURVES = "class-curves"
HOLD = "class-hold"
HOLD_SAID = "class-hold-said"
MORE_TIME = "class-more-time"
MORE_TIME_SAID = "class-more-time-said"

AGAIN = "class-again"
LET_IN = "class-let-in"
CODE = "class-code"

WORDS = "class-words"
WORDS_PROBLEM = "class-words-problem"
SENT_ADDRESS = "class-address"
SENT_ADDRESS_PROBLEM = "class-address-problem"
SEND = "class-send"
TAKE_BACK = "class-take-back"
SENT = "class-sent"

NOTICE = "class-notice"
NOTICE_TICK = "class-notice-tick"
NOTICE_SEEN = "class-notice-seen"
NOTICE_CLOSE = "class-notice-close"
NOTICE_CLOSED = "class-notice-closed"  # the number of the notice that was closed
