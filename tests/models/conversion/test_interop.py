"""The Ouro layout, against an independent implementation that reads its names alone."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.config import LoopedConfig
from models.conversion.interop import load_ouro, save_ouro
from models.exits import exit_log_probabilities

V, CONFIG = 12, LoopedConfig(width=16, heads=2, core=2, loops=4, rope_base=1e6, mlp_hidden=24)
TOKENS = torch.randint(1, V, (2, 6), generator=torch.Generator().manual_seed(3))


def model_with(config=CONFIG, gate=True):
    model = config.build(V, gate=gate, seed=1).eval()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        if gate:
            model.gate.weight.normal_(std=0.5, generator=rng)
    return model


def rms(x, weight):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG.norm_eps)


def ouro(tensors, tokens, heads, layers, loops, base):
    """As published: logits of every loop [n, B, T, V], exit probabilities [n, B, T]."""
    B, T = tokens.shape
    x = tensors["model.embed_tokens.weight"][tokens]
    size = x.shape[-1] // heads
    frequency = base ** (-torch.arange(0, size, 2).float() / size)
    angle = torch.arange(T).float()[:, None] * frequency
    angle = torch.cat((angle, angle), -1)

    def turn(y):
        first, second = y[..., : size // 2], y[..., size // 2 :]
        return y * angle.cos() + torch.cat((-second, first), -1) * angle.sin()

    future = torch.full((T, T), -torch.inf).triu(1)
    logits, gates = [], []
    for _ in range(loops):
        for i in range(layers):

            def weight(name, i=i):
                return tensors[f"model.layers.{i}.{name}.weight"]

            y = rms(x, weight("input_layernorm"))
            q, k, v = (
                (y @ weight(f"self_attn.{n}_proj").T).view(B, T, heads, size).transpose(1, 2)
                for n in "qkv"
            )
            scores = turn(q) @ turn(k).transpose(-1, -2) / size**0.5 + future
            y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, -1)
            x = x + rms(y @ weight("self_attn.o_proj").T, weight("input_layernorm_2"))
            y = rms(x, weight("post_attention_layernorm"))
            gate = y @ weight("mlp.gate_proj").T
            y = gate * gate.sigmoid() * (y @ weight("mlp.up_proj").T)
            x = x + rms(y @ weight("mlp.down_proj").T, weight("post_attention_layernorm_2"))
        x = rms(x, tensors["model.norm.weight"])
        logits.append(x @ tensors["lm_head.weight"].T)
        gate = x @ tensors["model.early_exit_gate.weight"].T + tensors["model.early_exit_gate.bias"]
        gates.append(gate[..., 0].sigmoid())
    left, exits = torch.ones(B, T), []
    for gate in gates[:-1]:
        exits.append(gate * left)
        left = left * (1 - gate)
    return torch.stack(logits), torch.stack([*exits, left])


def test_saved_weights_give_the_published_models_outputs(tmp_path):
    model = model_with()
    save_ouro(model, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    logits, exits = ouro(tensors, TOKENS, heads=2, layers=2, loops=4, base=1e6)
    outputs = model(TOKENS)
    for loop in range(1, 5):
        torch.testing.assert_close(outputs.logits(loop), logits[loop - 1], rtol=0, atol=1e-5)
    found = exit_log_probabilities(outputs.exit_logits()).exp()
    torch.testing.assert_close(found, exits, rtol=0, atol=1e-5)


def test_a_file_of_another_program_loads_with_a_config(tmp_path):
    """Weights drawn under Ouro's names, in Ouro's shapes; ours gives the reference's outputs."""
    rng = torch.Generator().manual_seed(7)
    shapes = {"model.embed_tokens": (V, 16), "lm_head": (V, 16), "model.norm": (16,)}
    for i in range(2):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{n}_proj": (16, 16) for n in "qkvo"}
        shapes |= {f"{layer}mlp.{n}_proj": (24, 16) for n in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj": (16, 24)}
        norms = ("input_layernorm", "post_attention_layernorm")
        shapes |= {f"{layer}{n}{end}": (16,) for n in norms for end in ("", "_2")}
    tensors = {f"{n}.weight": 0.5 * torch.randn(s, generator=rng) for n, s in shapes.items()}
    tensors["model.early_exit_gate.weight"] = torch.randn(1, 16, generator=rng)
    tensors["model.early_exit_gate.bias"] = torch.randn(1, generator=rng)
    path = tmp_path / "foreign.safetensors"
    save_file(tensors, path)
    with pytest.raises(ValueError, match="does not say its heads"):
        load_ouro(path)
    outputs = load_ouro(path, CONFIG)(TOKENS)
    logits, exits = ouro(tensors, TOKENS, heads=2, layers=2, loops=4, base=1e6)
    torch.testing.assert_close(
        torch.stack([outputs.logits(t) for t in range(1, 5)]), logits, rtol=0, atol=1e-5
    )
    found = exit_log_probabilities(outputs.exit_logits()).exp()
    torch.testing.assert_close(found, exits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"tied": True, "loops": 2}], ids=["untied", "tied"])
@pytest.mark.parametrize("gate", [True, False])
def test_there_and_back_is_bit_for_bit(tmp_path, fields, gate):
    model = model_with(CONFIG.model_copy(update=fields), gate)
    save_ouro(model, tmp_path / "m.safetensors")
    again = load_ouro(tmp_path / "m.safetensors")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_what_does_not_fit_is_named(tmp_path):
    prelude = LoopedConfig(width=16, heads=2, prelude=1, norm="pre").build(V, gate=False, seed=0)
    with pytest.raises(ValueError, match="prelude is 1, needs 0; norm is pre, needs sandwich"):
        save_ouro(prelude, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
    save_ouro(model_with(), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"lacks model\.layers\.2\.input_layernorm\.weight"):
        load_ouro(tmp_path / "m.safetensors", CONFIG.model_copy(update={"core": 3}))
    with pytest.raises(ValueError, match=r"has model\.layers\.1\..*the config has core 1"):
        load_ouro(tmp_path / "m.safetensors", CONFIG.model_copy(update={"core": 1}))
    with pytest.raises(ValueError, match=r"mlp\.gate_proj.* has shape \(48, 16\).*\(16, 16\)"):
        load_ouro(tmp_path / "m.safetensors", CONFIG.model_copy(update={"mlp_hidden": 8}))
