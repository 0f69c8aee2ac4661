"""How long a look inside takes, on one CPU thread; judges nothing.

python tests/bench/inspection.py      # ten seconds
"""

import statistics
import time
from collections.abc import Callable

import torch

from transformer_lab.generation import SampleConfig
from transformer_lab.inspection.ablation import ablated, head_site, mean_loss
from transformer_lab.inspection.architecture import describe
from transformer_lab.inspection.attention import head_measures, patterns
from transformer_lab.inspection.attribution import logit_attribution
from transformer_lab.inspection.capture import capture
from transformer_lab.inspection.distribution import distribution
from transformer_lab.inspection.logit_lens import logit_lens, stream_norms
from transformer_lab.model import ModelConfig, build_model, model_from_weights

VOCABULARY = 65


def main() -> None:
    torch.set_num_threads(1)
    config = ModelConfig(layers=4, heads=4, embedding_dim=128, sequence_length=256)
    model = build_model(config, VOCABULARY, seed=1)
    model = model_from_weights(config, VOCABULARY, model.state_dict())
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCABULARY, (256,), generator=generator)
    batch = tuple(torch.randint(0, VOCABULARY, (2, 8, 256), generator=generator))
    logits = 3 * torch.randn(50_257, generator=generator)
    captured = capture(model, tokens)

    def everything() -> None:
        seen = capture(model, tokens)
        patterns(seen)
        head_measures(model, seen, torch.Generator().manual_seed(1))
        logit_lens(model, seen)
        stream_norms(seen)

    print("4 layers, 4 heads, 128 wide, 256 tokens; median of 9, one thread\n")
    show("capture, patterns, measures and lens", everything)
    show("capture alone", lambda: capture(model, tokens))
    show("attribution of one logit", lambda: logit_attribution(model, captured, 100, 3))
    show("description of the model", lambda: describe(model))
    without = ablated(model, [head_site(model, 0, 0)])
    show("loss without one head, 8 x 256", lambda: mean_loss(without, [batch]))
    cut = SampleConfig(temperature=2.0, top_p=0.9)
    show("distribution of a step, V = 50,257", lambda: distribution(logits, cut, 5))


def show(name: str, work: Callable[[], object]) -> None:
    """Milliseconds of one piece of work."""
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    print(f"{name:38} {1e3 * statistics.median(seconds[1:]):7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
