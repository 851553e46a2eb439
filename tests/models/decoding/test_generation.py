"""Decoding against brute force: every token recomputed alone, document by document."""

import numpy as np
import pytest
import torch

from models.config import LoopedConfig
from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import (
    Acceleration,
    AllLoops,
    FixedPoint,
    PredictionChange,
    PredictionEntropy,
    QuantileExit,
    StateDifference,
    StaticExit,
)
from models.decoding.generation import Sampling, choose, generate
from models.exits import exit_log_probabilities, quantile_exit

V = 13
CONFIGS = {
    "ouro": LoopedConfig(width=16, heads=2, core=2, loops=4),
    "prelude-coda": LoopedConfig(width=16, heads=2, prelude=1, core=1, loops=4, coda=1),
    "unnormed": LoopedConfig(width=16, heads=2, loops=4, norm_between_loops=False, tied=True),
    "post-qk": LoopedConfig(
        width=16, heads=2, loops=4, norm="post", qk_norm=True, layer_scale=0.5, residual_scale=2.0
    ),
    "variants": LoopedConfig(
        width=16,
        heads=2,
        core=2,
        loops=4,
        reuse=(0, 1, 1),
        injection="concat",
        loop_embedding="sinusoidal",
        positions="learned",
        context=12,
        mlp="moe",
    ),
}
RULES = [
    AllLoops(),
    StaticExit(loop=2),
    QuantileExit(q=0.6),
    StateDifference(epsilon=3.0),
    PredictionEntropy(nats=2.0),
]
#: rules that compare loops, asked with six of them
COMPARING = [
    FixedPoint(share=0.8),
    Acceleration(epsilon=5.0),
    Acceleration(epsilon=4.0, hits=1),
    PredictionChange(nats=0.3),
]


def build(config):
    """In float64, with weights large enough that tokens differ in where they leave."""
    model = config.build(V, gate=True, seed=3).double().eval()
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.gate.weight.normal_(std=0.5, generator=rng)
        model.head.weight.normal_(std=0.4, generator=rng)
    return model


def documents():
    """Three prompts of different lengths, padded left, right and unpadded."""
    rng = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, V, (n,), generator=rng) for n in (6, 4, 1)]

    def pad(left):
        padded = torch.zeros(3, 6, dtype=torch.long)
        for i, row in enumerate(rows):
            padded[i, slice(6 - len(row), None) if left else slice(len(row))] = row
        return padded

    return rows, {"left": pad(True), "right": pad(False)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_cached_equals_uncached_with_padding_and_early_exit(config, rule):
    """The full strategy, wherever the padding is, in parallel and serial prefill."""
    model = build(config)
    rows, padded = documents()
    alone = [
        generate(model, row[None], 3, cache=None, exit_rule=rule, keep_logits=True) for row in rows
    ]
    for prompts in padded.values():
        for settings in (None, CacheSettings(), CacheSettings(prefill="serial")):
            found = generate(
                model,
                prompts,
                3,
                attention_mask=prompts != 0,
                cache=settings,
                exit_rule=rule,
                keep_logits=True,
            )
            for i, one in enumerate(alone):
                torch.testing.assert_close(found.logits[i], one.logits[0], rtol=0, atol=1e-12)
                assert torch.equal(found.tokens[i], one.tokens[0])
                assert torch.equal(found.exit_loop[i], one.exit_loop[0])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("rule", COMPARING, ids=lambda rule: f"{rule.kind}-{rule.looks_back}")
def test_rules_that_compare_loops_leave_alike_with_and_without_a_cache(config, rule):
    """Also as each document by itself; tokens leave after several loops, and not only the last."""
    model = build(config)
    rows, padded = documents()
    asked = {"exit_rule": rule, "loops": 6, "keep_logits": True}
    alone = [generate(model, row[None], 3, cache=None, **asked) for row in rows]
    for prompts in padded.values():
        for settings in (CacheSettings(), CacheSettings(prefill="serial")):
            mask = prompts != 0
            found = generate(model, prompts, 3, attention_mask=mask, cache=settings, **asked)
            for i, one in enumerate(alone):
                torch.testing.assert_close(found.logits[i], one.logits[0], rtol=0, atol=1e-12)
                assert torch.equal(found.exit_loop[i], one.exit_loop[0])
    if config is CONFIGS["ouro"]:
        left = set(found.exit_loop.flatten().tolist())
        assert len(left) > 1 and min(left) < 6, left


@pytest.mark.parametrize("name", ["ouro", "prelude-coda"])
def test_a_halting_model_is_decoded_from_its_weighted_states(name):
    """Cached as uncached, and both as a whole pass reads it; the plain last state differs."""
    model = build(CONFIGS[name])
    model.halting = 0.01
    prompts = documents()[1]["left"]
    for rule in (AllLoops(), StaticExit(loop=2)):
        found, reference = (
            generate(
                model,
                prompts,
                3,
                attention_mask=prompts != 0,
                cache=cache,
                exit_rule=rule,
                keep_logits=True,
            )
            for cache in (CacheSettings(), None)
        )
        torch.testing.assert_close(found.logits, reference.logits, rtol=0, atol=1e-12)
        whole = model(documents()[0][0][None], attention_mask=torch.ones(1, 6, dtype=torch.bool))
        loop = 2 if rule.kind == "static" else 4
        wanted = whole.logits(loop)[0, -1]
        torch.testing.assert_close(found.logits[0, 0], wanted, rtol=0, atol=1e-12)
    model.halting = None
    plain = model(documents()[0][0][None]).logits(2)[0, -1]
    assert (plain - wanted).abs().max() > 1e-3, "a control"
    model.halting = 0.01
    with pytest.raises(ValueError, match="quantile reads the gate .* objective act"):
        generate(model, prompts, 1, attention_mask=prompts != 0, exit_rule=QuantileExit(q=0.5))


def test_layers_that_run_all_their_loops_at_once_are_cached_too():
    model = build(LoopedConfig(width=16, heads=2, core=2, loops=3, reuse="sequence"))
    prompts = documents()[1]["left"]
    cached, uncached = (
        generate(model, prompts, 4, attention_mask=prompts != 0, cache=cache, keep_logits=True)
        for cache in (CacheSettings(), None)
    )
    torch.testing.assert_close(cached.logits, uncached.logits, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="leaves after loop 2, but loops is 1"):
        generate(model, prompts, 1, attention_mask=prompts != 0, exit_rule=StaticExit(loop=2))


def test_more_loops_than_trained():
    model = build(CONFIGS["ouro"])
    prompt = documents()[0][0][None]
    found = generate(model, prompt, 1, loops=7, keep_logits=True)
    torch.testing.assert_close(found.logits[:, 0], model(prompt, 7).logits()[:, -1])
    assert int(found.exit_loop) == 7


def test_the_rules_do_leave_early_and_at_different_loops():
    model = build(CONFIGS["ouro"])
    rows, padded = documents()
    prompts = padded["left"]
    for rule in RULES[2:]:
        found = generate(model, prompts, 5, attention_mask=prompts != 0, exit_rule=rule)
        assert found.exit_loop.unique().numel() > 1, rule
    for q in (1.0, 2.0):
        rule = QuantileExit(q=q)
        found = generate(model, prompts, 5, attention_mask=prompts != 0, exit_rule=rule)
        assert (found.exit_loop == 4).all()


def test_quantile_exit_is_that_of_the_whole_distribution():
    model = build(CONFIGS["ouro"])
    prompt = documents()[0][0][None]
    for q in (0.0, 0.3, 0.55, 0.8, 0.9):
        found = generate(model, prompt, 1, exit_rule=QuantileExit(q=q))
        log_p = exit_log_probabilities(model(prompt).exit_logits()[:, 0, -1])
        assert int(found.exit_loop[0, 0]) == int(quantile_exit(log_p, q))


def test_early_exit_saves_work():
    """Counted: block applications × documents in decoding equal the sum of the exit loops."""
    model = build(CONFIGS["unnormed"])
    prompts = documents()[1]["right"]
    counted = []
    model.core[0].register_forward_hook(lambda m, args, out: counted.append(out.shape[:2]))
    found = generate(
        model, prompts, 5, attention_mask=prompts != 0, exit_rule=PredictionEntropy(nats=2.0)
    )
    decoded = sum(rows for rows, columns in counted if columns == 1)
    assert decoded == int(found.exit_loop.sum()) < 4 * 3 * 5
    assert sum(columns == 6 for _, columns in counted) == 4  # the prefill: one call a loop


def test_brute_force_of_every_sharing():
    """One document, one layer, each token alone; keys and values are kept in plain lists."""
    config = LoopedConfig(width=16, heads=2, loops=3)
    model = build(config)
    tokens = torch.randint(1, V, (6,), generator=torch.Generator().manual_seed(8))

    class Lists:
        def __init__(self, past):
            self.past, self.own = past, []

        def attend(self, call, k, v):
            self.own.append((k, v))
            pairs = [*(kept[min(call.loop, len(kept)) - 1] for kept in self.past), (k, v)]
            return tuple(torch.cat(part, -2) for part in zip(*pairs, strict=True))

    def keep(own, sharing):
        mean = tuple(torch.stack(part).mean(0) for part in zip(*own, strict=True))
        return {"full": own, "last-loop": own[-1:], "first-loop": own[:1], "average": [mean]}[
            sharing
        ]

    different = []
    for sharing in ("full", "last-loop", "first-loop", "average"):
        past = []
        with torch.no_grad():
            for i, token in enumerate(tokens):
                kept = Lists(past)
                seen = torch.ones(1, 1, 1, i + 1, dtype=torch.bool)
                run = model.begin(token[None, None], 3, torch.tensor([[i]]), seen, key_values=kept)
                for loop in (1, 2, 3):
                    state = run.loop(loop)
                past.append(keep(kept.own, sharing))
            expected = run.logits(state, 3)[0, 0]
        settings = CacheSettings(sharing=sharing, prefill="serial")
        found = generate(model, tokens[None], 1, cache=settings, keep_logits=True).logits[0, 0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        different.append(found)
        if sharing == "first-loop":  # the only one that needs no serial rule
            shared = CacheSettings(sharing=sharing, prefill="shared")
            again = generate(model, tokens[None], 1, cache=shared, keep_logits=True).logits[0, 0]
            torch.testing.assert_close(again, expected, rtol=0, atol=1e-12)
    assert all((x - different[0]).abs().max() > 1e-3 for x in different[1:])


def test_a_shared_cache_is_smaller_by_the_number_of_loops():
    model = build(CONFIGS["ouro"]).float()
    prompt = documents()[0][0][None]
    full = generate(model, prompt, 4).cache_bytes
    for sharing in ("last-loop", "first-loop", "average"):
        assert 4 * generate(model, prompt, 4, cache=CacheSettings(sharing=sharing)).cache_bytes == (
            full
        )
    per_token = CacheSettings().bytes_per_token(layers=2, loops=4, width=16)
    assert full == per_token * (6 + 4)


def test_samples_stop_tokens_and_lengths():
    model = build(CONFIGS["ouro"])
    prompts = documents()[1]["left"]
    mask = prompts != 0
    greedy = generate(model, prompts, torch.tensor([1, 3, 2]), attention_mask=mask)
    assert (greedy.tokens != 0).sum(1).tolist() == [1, 3, 2]
    stop = int(greedy.tokens[1, 0])
    stopped = generate(model, prompts, 3, attention_mask=mask, stop_token=stop)
    assert stopped.tokens[1].tolist() == [stop, 0, 0] and stopped.exit_loop[1, 1] == 0
    sampling = Sampling(temperature=1.0, samples=3)
    draws = [
        generate(
            model,
            prompts,
            4,
            attention_mask=mask,
            sampling=sampling,
            rng=np.random.default_rng([s]),
            cache=cache,
        ).tokens
        for s, cache in ((5, CacheSettings()), (5, None), (6, CacheSettings()))
    ]
    assert draws[0].shape == (9, 4) and torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_sampling_follows_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(20_000, 4)
    uniform = torch.from_numpy(np.random.default_rng([1]).random(20_000))
    drawn = choose(logits, Sampling(temperature=2.0), uniform)
    wanted = (logits[0] / 2).softmax(-1)
    share = torch.bincount(drawn, minlength=4) / 20_000
    assert (share - wanted).abs().max() < 0.02  # five standard errors
    kept = choose(logits, Sampling(temperature=2.0, top_p=0.5), uniform)
    assert set(kept.tolist()) == {0, 1}  # the likeliest alone has 0.455


def test_impossible_settings_name_both():
    model = CONFIGS["ouro"].build(V, gate=False, seed=0)
    prompt = documents()[0][0][None]
    with pytest.raises(ValueError, match="sharing last-loop cannot go with prefill shared"):
        CacheSettings(sharing="last-loop", prefill="shared")
    with pytest.raises(ValueError, match="quantile needs an exit gate"):
        generate(model, prompt, 1, exit_rule=QuantileExit(q=0.5))
    with pytest.raises(ValueError, match="leaves after loop 5, but loops is 4"):
        generate(model, prompt, 1, exit_rule=StaticExit(loop=5))
    with pytest.raises(ValueError, match="needs a random generator"):
        generate(model, prompt, 1, sampling=Sampling(temperature=1.0))
    with pytest.raises(ValueError, match="n_loops must be 1 or more, got 0"):
        generate(model, prompt, 1, loops=0)
    with pytest.raises(ValueError, match="not padding"):
        generate(model, prompt, 1, attention_mask=torch.zeros_like(prompt, dtype=torch.bool))
