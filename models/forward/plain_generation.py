"""`model.generate` without the settings that a checkpoint brings: where its text is a measure, or is compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig, PreTrainedModel


@contextmanager
def plain_settings(model: PreTrainedModel, **settings: Any) -> Iterator[GenerationConfig]:
    """Greedy settings for `model.generate`, changed by `settings`; nothing ends a text but its length.

    `generate` fills what they leave open from the checkpoint's own `generation_config` (a repetition penalty, beams,
    tokens that are forced or suppressed, stop strings), so that is put aside for the while.
    """
    plain = GenerationConfig(**{"do_sample": False, "num_beams": 1, "pad_token_id": 0} | settings)
    own, model.generation_config = model.generation_config, plain
    try:
        yield plain
    finally:
        model.generation_config = own
