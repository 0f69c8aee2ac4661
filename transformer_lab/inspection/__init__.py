"""Looking inside a trained model: what it computes, which part matters, and how healthy it is.

A pure library over a `GPT` made for reading (`model_from_weights`). Begin at `capture.py`: one pass
over some tokens, with every activation on the way. Nothing here changes a model or its weights.
"""
