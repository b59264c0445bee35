"""What is refused or explained before, and while, a model is fetched from the Hub; nothing is fetched here."""

from types import SimpleNamespace

import huggingface_hub
import pytest

from models.errors import EspalierError, RequestError
from models.source import locate


@pytest.fixture
def told(monkeypatch):
    """`told(answer)`: the Hub's answer to who asks about a repository; fetching is a failure of the test."""

    def make(answer):
        def model_info(*_, **__):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("it was fetched"))

    return make


def test_a_quantised_repository_is_refused_before_it_is_fetched(told):
    weights = SimpleNamespace(rfilename="model.safetensors", size=1 << 40)
    told(SimpleNamespace(config={"quantization_config": {"quant_method": "awq", "bits": 4}}, siblings=[weights]))
    with pytest.raises(RequestError, match=r"team/model is quantised \(awq, 4 bits\): use the original"):
        locate("team/model", room=lambda _: pytest.fail("room was asked for"))


def test_a_cache_that_cannot_be_used_is_not_called_the_network(told):
    told(PermissionError(13, "Permission denied", "/cache/refs/main"))
    with pytest.raises(RequestError, match="/cache/refs/main may not be opened"):
        locate("team/model")
    told(OSError(28, "No space left on device", "/cache/blobs/x"))
    with pytest.raises(EspalierError, match="Free some space"):
        locate("team/model")
