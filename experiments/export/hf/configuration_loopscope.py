"""Configuration of a looped transformer that was trained with loopscope."""

from transformers import PretrainedConfig  # pyrefly: ignore


class LoopscopeConfig(PretrainedConfig):
    """What `LoopscopeForCausalLM` is built from.

    Args:
        vocab_size: rows of the embedding; id 0 is padding.
        shape: fields of loopscope's `LoopedConfig`, with `mlp_hidden` and `loop_rows` filled in.
        loops: how often the core runs; may be changed.
        gate: whether there is an exit gate.
        halting: ε of adaptive computation time; None: logits are those of the last state.
    """

    model_type = "loopscope"

    def __init__(
        self,
        vocab_size: int = 1,
        shape: dict | None = None,
        loops: int = 1,
        gate: bool = False,
        halting: float | None = None,
        **kwargs,
    ) -> None:
        self.vocab_size = vocab_size
        self.shape = shape or {}
        self.loops = loops
        self.gate = gate
        self.halting = halting
        self.hidden_size = self.shape.get("width", 1)
        self.num_attention_heads = self.shape.get("heads", 1)
        self.num_hidden_layers = sum(self.shape.get(k, 0) for k in ("prelude", "core", "coda"))
        kwargs.setdefault("pad_token_id", 0)
        kwargs["use_cache"] = False  # every token is computed anew
        kwargs["tie_word_embeddings"] = False  # a tied model has one matrix and no head
        super().__init__(**kwargs)
