"""Chat templates of every kind: what they make of a conversation is what transformers makes of it, or is told."""

import copy
import json

import pytest

from models.errors import RequestError
from models.text.chat import find_template, without_system

LOOP = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + eos_token }}{% endfor %}"
ASK = "{% if add_generation_prompt %}<assistant>{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
PARTS = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}"
    "{{ eos_token }}{% endfor %}" + ASK
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NO_PROMPT = LOOP  # marks the assistant's turn only with an answer in it
THINKING = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}{% if m['role'] == 'assistant' %}<think></think>{% endif %}"
    "{{ m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)
SAID = [
    {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}, {"role": "user", "content": "Why?"},
]  # fmt: skip
TOLD = [{"role": "system", "content": "Be brief."}, *SAID]


@pytest.fixture
def tokenizer_with(tiny_tokenizer):
    def make(template):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.chat_template = template
        return tokenizer

    return make


def test_without_a_template_there_is_none(tiny_tokenizer):
    assert find_template(tiny_tokenizer) is None


@pytest.mark.parametrize("template", [LOOP + ASK, LLAMA2, THINKING], ids=["roles", "llama2", "thinking"])
def test_ids_are_what_transformers_gives_with_one_bos_at_most(tokenizer_with, template):
    tokenizer = tokenizer_with(template)
    wanted = tokenizer.apply_chat_template(
        SAID, add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False
    )
    ids = find_template(tokenizer).ids(SAID)
    assert ids == wanted
    assert ids[:2].count(tokenizer.bos_token_id) <= 1 and tokenizer.decode(ids).count("Hello") == 1


def test_a_tokenizer_that_puts_a_bos_before_every_text_doubles_none(tokenizer_with):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_with("{{ bos_token }}" + LOOP + ASK)
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    assert tokenizer("a")["input_ids"][0] == bos[1]
    ids = find_template(tokenizer).ids(SAID)
    assert ids[0] == bos[1] and ids[1] != bos[1]


def test_a_system_prompt_that_is_refused_or_dropped_opens_the_first_message(tokenizer_with):
    for template in (NO_SYSTEM + LOOP + ASK, LLAMA2):
        found = find_template(tokenizer_with(template))
        assert not found.takes_system
        assert "Be brief.\n\nHello" in found.text(TOLD)
    kept = find_template(tokenizer_with(LOOP + ASK))
    assert kept.takes_system and "<system>Be brief." in kept.text(TOLD)


def test_contents_in_parts_are_given_in_parts(tokenizer_with):
    found = find_template(tokenizer_with(PARTS))
    assert found.parts and "<system>Be brief." in found.text(TOLD) and "<user>Why?" in found.text(TOLD)


@pytest.mark.parametrize(
    ("named", "used"),
    [({"tool_use": "{{ 'tools' }}", "default": LOOP + ASK}, LOOP + ASK), ({"chat": LLAMA2, "tool_use": "x"}, LLAMA2)],
)
def test_of_named_templates_the_default_or_the_first_is_used(tokenizer_with, named, used):
    assert find_template(tokenizer_with(named)).source == used


def test_named_templates_of_an_older_file_are_read(tiny_tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tiny_tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "rag", "template": "x"}, {"name": "default", "template": LOOP + ASK}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert find_template(AutoTokenizer.from_pretrained(tmp_path)).source == LOOP + ASK


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('not today') }}", "not today"),
        ("{% for m in messages %}", "[Uu]nexpected end"),
        ("{{ messages[0].nothing.at_all }}", "no attribute .nothing"),
        ("always the same", "leaves out what the user says"),
        ({"tool_use": "{{ raise_exception('tools only') }}"}, "tools only"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_in_one_line(tokenizer_with, template, reason):
    with pytest.raises(RequestError, match=reason) as caught:
        find_template(tokenizer_with(template))
    assert "\n" not in str(caught.value)


def test_a_conversation_that_a_template_refuses_is_told_in_one_line(tokenizer_with):
    short = "{% if messages | length > 2 %}{{ raise_exception('one question\nat a time') }}{% endif %}" + LOOP + ASK
    found = find_template(tokenizer_with(short))
    assert found.ids(SAID[:1])
    with pytest.raises(RequestError, match="refuses this conversation: one question") as caught:
        found.ids(SAID)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "text", "opening"),
    [
        (LOOP + ASK, "<assistant>", "<assistant>"),
        (NO_PROMPT, "<assistant>", "<assistant>"),
        (LLAMA2, "[/INST]", "[/INST] "),
        (THINKING, "<assistant><think></think>", "<assistant><think></think>"),
    ],
    ids=["roles", "no prompt", "llama2", "thinking"],
)
def test_the_assistant_s_turn_is_opened_as_the_template_writes_an_answer(tokenizer_with, template, text, opening):
    found = find_template(tokenizer_with(template))
    assert found.text(SAID).endswith(text) and found.opening(SAID).endswith(opening)
    answered = [*SAID, {"role": "assistant", "content": "Because."}]
    whole = found.tokenizer.apply_chat_template(answered, tokenize=False)
    assert whole.startswith(found.opening(SAID) + "Because.")


def test_without_system_changes_nothing_else():
    assert without_system(SAID) == SAID
    assert without_system(TOLD)[1:] == SAID[1:]
