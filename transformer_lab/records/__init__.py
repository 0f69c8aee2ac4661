"""What is stored of a run, declared once: those who write, read and bring in hold to it.

`checked` refuses a wrong value with a sentence, as for a run from elsewhere. `mended` puts the
default in its place, so that one odd value never hides the rest of a run.
"""
