"""The page's endpoints, called as a program would, over a tiny model."""

import inspect

import pytest
from gradio_client import Client

from models.decoding import Generation
from models.sampling import Sampling
from ui.page import build_page


@pytest.fixture
def connect(fake_engine, serve):
    """Serves a page over a fresh engine and returns a client of it, with the engine as `client.engine`."""

    def make(**options):
        engine = fake_engine(**options)
        made = Client(serve(build_page(engine)), verbose=False)
        made.engine = engine
        return made

    return make


@pytest.fixture
def client(connect):
    return connect()


def test_the_endpoints_are_these_and_are_documented(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/generate", "/classify", "/answer", "/prune", "/models"}
    for name, endpoint in named.items():
        assert len(endpoint["description"]) > 60, name
    assert [p["parameter_name"] for p in named["/prune"]["parameters"]] == [
        "method",
        "sparsity",
        "pattern",
        "model",
        "solver",
        "layout",
    ]
    assert all(
        p["type"]["type"] in ("string", "integer", "number", "boolean") for e in named.values() for p in e["parameters"]
    )


def test_generate_streams_and_ends_with_where_the_two_part(client):
    alone = client.predict(prompt="The garden", max_new_tokens=6, api_name="/generate")
    assert set(alone) == {"dense", "over", "first_difference"} and alone["first_difference"] is None
    client.predict(method="magnitude", sparsity=0.9, api_name="/prune")
    job = client.submit(prompt="The garden", max_new_tokens=12, api_name="/generate")
    last = job.result(timeout=60)
    assert last["over"] is True
    assert last["dense"]["tokens"] == 12 and last["dense"]["finished"] == "length"
    assert last["dense"]["text"] != last["pruned"]["text"] and last["first_difference"] >= 1
    assert last["dense"]["time_to_first_token"] > 0 and last["dense"]["tokens_per_second"] > 0


def test_greedy_is_repeatable_and_a_seed_decides_the_rest(client):
    def text(**options):
        return client.predict(prompt="A tree", max_new_tokens=12, api_name="/generate", **options)["dense"]["text"]

    assert text() == text()
    assert text(temperature=1.0, seed=1) == text(temperature=1.0, seed=1)
    assert text(temperature=1.0, seed=1) != text(temperature=1.0, seed=2)


def test_classify_gives_probabilities_that_sum_to_one(client):
    client.predict(method="magnitude", api_name="/prune")
    verdict = client.predict(text="Good fruit.", labels="bad, good, odd", api_name="/classify")
    for side in ("dense", "pruned"):
        shares = verdict[side]["probabilities"]
        assert list(shares) == ["bad", "good", "odd"] and sum(shares.values()) == pytest.approx(1)
        assert verdict[side]["label"] == max(shares, key=shares.get)
        assert all(value < 0 for value in verdict[side]["log_likelihoods"].values())
    assert verdict["agree"] == (verdict["dense"]["label"] == verdict["pruned"]["label"])


def test_answer_keeps_to_one_line(client):
    answers = client.predict(context="The cat sleeps.", question="Who sleeps?", max_new_tokens=20, api_name="/answer")
    assert set(answers) == {"dense"}
    assert "\n" not in answers["dense"]["text"] and answers["dense"]["tokens"] <= 20


def test_a_chat_model_is_asked_in_its_template_when_told_to(connect):
    client = connect(chat=True)
    tokenizer, model = client.engine.loaded.tokenizer, client.engine.loaded.model
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    options = dict(prompt="Hello", max_new_tokens=8, repetition_penalty=1.0, api_name="/generate")
    asked = client.predict(chat=True, system="Be brief.", **options)["dense"]["text"]
    assert asked == Generation(model, tokenizer, ids, Sampling(8)).run().text
    plain = client.predict(**options)["dense"]["text"]
    assert plain == Generation(model, tokenizer, "Hello", Sampling(8)).run().text != asked
    verdict = client.predict(text="Good fruit.", labels="bad, good", calibrated=True, api_name="/classify")["dense"]
    assert verdict["form"] == "chat" and set(verdict["neutral_log_likelihoods"]) == {"bad", "good"}


def test_prune_says_what_changed_and_models_lists_it(client):
    made = client.predict(method="magnitude", sparsity=0.5, pattern="2:4", api_name="/prune")
    assert made["settings"] == {
        "method": "magnitude",
        "sparsity": 0.5,
        "pattern": "2:4",
        "solver": "none",
        "layout": "plain",
    }
    assert made["change"]["nonzero"] == [100, 50] and made["change"]["perplexity"][1]["value"] == 12.0
    known = client.predict(api_name="/models")
    named = {entry["name"]: entry for entry in known["catalogue"]}
    assert (
        named["smollm2"]["licence"] == "Apache-2.0" and named["embedded"]["here"] and "folder" not in named["embedded"]
    )
    assert known["models"] == ["tiny"] and [twin["key"] for twin in known["pruned"]] == [made["key"]]
    assert {method["name"] for method in known["methods"]} == {"magnitude", "block-influence"}


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (dict(prompt=" ", api_name="/generate"), "prompt is empty"),
        (dict(prompt="x" * 30_000, api_name="/generate"), "limit"),
        (dict(prompt="word " * 300, api_name="/generate"), "reads at most 128"),
        (dict(prompt="x", temperature=-1.0, api_name="/generate"), "temperature"),
        (dict(prompt="x", key="gone", api_name="/generate"), "press Prune"),
        (dict(prompt="x", chat=True, api_name="/generate"), "no chat template"),
        (dict(prompt="x", system="Be brief.", api_name="/generate"), "set chat"),
        (dict(prompt="x", model="nowhere", api_name="/generate"), "no folder nowhere"),
        (dict(text="x", labels="one", api_name="/classify"), "two"),
        (dict(context="", question="Who?", api_name="/answer"), "context is empty"),
        (dict(sparsity=1.5, api_name="/prune"), "between 0 and 1"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(client, request_, complaint):
    with pytest.raises(Exception, match=complaint) as caught:
        client.predict(**request_)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_failure_of_the_model_gets_one_line_and_the_next_request_works(client, monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("bad\nnews")

    with monkeypatch.context() as patch:
        patch.setattr(client.engine.loaded.model, "forward", broken)
        with pytest.raises(Exception, match="ValueError: bad"):
            client.predict(prompt="x", api_name="/generate")
    assert client.predict(prompt="x", max_new_tokens=2, api_name="/generate")["dense"]["tokens"] == 2


def test_a_caller_who_leaves_ends_the_work(connect, monkeypatch):
    client = connect(max_position_embeddings=100_000)
    model = client.engine.loaded.model
    forward, passes = model.forward, []

    def counted(*args, **kwargs):
        passes.append(1)
        return forward(*args, **kwargs)

    # The signature is what tells the decoding loop which arguments the model takes.
    counted.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", counted)
    job = client.submit(prompt="The", max_new_tokens=90_000, api_name="/generate")
    next(iter(job))
    job.cancel()
    client.engine.worker.run(lambda: None)  # comes back when the machine is free again
    assert 0 < len(passes) < 90_000
