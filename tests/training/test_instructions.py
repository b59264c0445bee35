"""Fine-tuning examples: the fixed formats, what is kept back, and packing."""

import gzip
import json
import lzma
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.held_out import is_held_out
from training.instructions import passages, reviews
from training.packing import encode_example, pack
from training.sources import UNANSWERABLE, Passage, Review
from training.tasks import augmented, cloze, headline, questions, sentiment, tasks
from training.tasks.articles import Paragraph, articles, sentences

TITLES = [f"Article {number}" for number in range(40)]
PARAGRAPH = (
    "The old bridge over the river was built by John Smith in 1887 and has 14 arches of grey stone. "
    "It was painted by the students of Weimar in the same year. "
    "Nobody knows why it was never used by anyone at all, and nobody asked about it for a long time."
)


def text(example):
    return "".join(piece for piece, _ in example)


def answers(example):
    return [piece for piece, counts in example if counts]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    squad = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": "Ada wrote.",
                    "qas": [
                        {"question": "Who wrote?", "answers": [{"text": "Ada"}]},
                        {"question": "Who read?", "answers": []},
                    ],
                },
                {"context": "Bob read.", "qas": [{"question": "Who read?", "answers": [{"text": "Bob"}]}]},
            ],
        }
        for title in TITLES
    ]
    lines = "".join(f"Sentence {number} is fine.\t{number % 2}\n" for number in range(60))
    files = {
        "squad/dev-v1.1.json.gz": json.dumps({"data": squad}),
        "squad/dev-v2.0.json.gz": json.dumps({"data": squad}),
        "sst2_glue/train.tsv.gz": "sentence\tlabel\n" + lines,
        "wikipedia_en_2015/train.jsonl.xz": "".join(
            json.dumps({"title": title, "text": f"{PARAGRAPH}\nHistory.\n{PARAGRAPH}\n{PARAGRAPH}"}) + "\n"
            for title in TITLES
        ),
    }
    files |= {f"reviews_uci/{name}_labelled.txt": lines for name in ("amazon_cells", "imdb", "yelp")}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        opener = {".gz": gzip.open, ".xz": lzma.open}.get((folder / name).suffix, open)
        with opener(folder / name, "wt", encoding="utf-8") as file:
            file.write(content)
    return folder


def test_reviews_and_questions_stand_in_the_fixed_formats(tiny_tokenizer):
    review = sentiment.example(Review("Good\nbuy", 1))
    assert review == [("Review: Good buy\nSentiment:", False), (" positive\n", True)]
    passage = Passage("T", "Ada wrote.", (("Who?", ("Ada",)), ("What did she do?", ("wrote",)), ("When?", ())))
    example = questions.example(passage, random.Random(0))
    assert text(example).startswith("Context: Ada wrote.\nQuestion: ") and text(example).count("Context:") == 1
    assert sorted(answers(example)) == [" Ada\n", " unanswerable\n", " wrote\n"]
    assert "Question: When?\nAnswer: unanswerable\n" in text(example)
    ids, weights = encode_example(review, tiny_tokenizer, prompt_weight=0.25)
    assert tiny_tokenizer.decode(ids) == "<|endoftext|>Review: Good buy\nSentiment: positive\n"
    counted = [token for token, weight in zip(ids, weights, strict=True) if weight == 1.0]
    assert tiny_tokenizer.decode(counted) == " positive\n" and set(weights) == {0.25, 1.0}


def test_a_heading_is_asked_of_the_paragraph_under_it(root):
    title, paragraphs = next(articles(root))
    assert [paragraph.heading for paragraph in paragraphs] == [title, "History", None]
    example = headline.example(Paragraph("Trees\nof Europe", "They\ngrow."))
    assert example == [("Text: They grow.\nHeadline:", False), (" Trees of Europe\n", True)]


@given(st.integers(0, 10_000))
def test_a_cloze_question_is_a_statement_with_its_answer_taken_out(seed):
    example = cloze.example(PARAGRAPH, random.Random(seed))
    assert 1 <= len(answers(example)) <= 2  # the third sentence has nothing to ask for
    asked = re.findall(r"Question: (.*)\?\nAnswer: (.*)\n", text(example))
    for question, answer in asked:
        statement = re.sub("which year|how many|what", lambda _, found=answer: found, question, count=1)
        assert answer in {"John Smith", "1887", "14", "Weimar"} and statement in PARAGRAPH


def test_a_paragraph_without_names_and_numbers_is_not_asked():
    assert cloze.example("It rained. " * 30, random.Random(0)) is None


def test_a_gap_is_a_whole_word_in_every_script():
    example = cloze.example("The equation was found by Schrödinger and Émile in the Alps.", random.Random(0))
    assert answers(example) in ([" Alps\n"], [" Schrödinger\n"], [" Émile\n"])


def test_sentences_join_to_their_paragraph():
    assert len(sentences(PARAGRAPH)) == 3 and " ".join(sentences(PARAGRAPH)) == PARAGRAPH
    assert sentences('He said "yes." The J. S. Bach prize.') == ['He said "yes."', "The J. S. Bach prize."]


def test_what_is_held_out_is_held_out_of_every_task(root):
    kept_articles = {title for title in TITLES if not is_held_out(title, 6)}
    kept_sentences = {f"Sentence {n} is fine." for n in range(60) if not is_held_out(f"Sentence {n} is fine.", 10)}
    assert 0 < len(kept_articles) < 40 and 0 < len(kept_sentences) < 60
    keys = {name: [key for key, _ in task.examples(root, random.Random(0))] for name, task in tasks().items()}
    assert set(keys["questions"]) == set(keys["unanswerable"]) == kept_articles
    assert len(keys["questions"]) == 2 * len(keys["unanswerable"]), "only passages with an unanswerable question"
    assert set(keys["reviews"]) == kept_sentences and len(keys["phrases"]) == 60
    assert set(keys["cloze"]) == set(keys["headline"]) == set(TITLES)


def test_augmented_reviews_keep_label_and_key(root):
    originals = [Review(f"The number {n} phone works well and I like it {n} times.", n % 2) for n in range(40)]
    copies = list(augmented.changed(originals, random.Random(0)))
    assert [copy.label for copy in copies] == [review.label for review in originals]
    assert sum(copy.text != review.text for copy, review in zip(copies, originals, strict=True)) > 20
    keys = [key for key, _ in tasks()["augmented"].examples(root, random.Random(0))]
    assert keys == [key for key, _ in tasks()["reviews"].examples(root, random.Random(0))]


def test_held_out_and_training_parts_make_up_the_whole(root):
    for read, everything in ((passages, 80), (reviews, 240)):
        held, kept = list(read(root, held_out=True)), list(read(root))
        assert held and kept and len(held) + len(kept) == everything
    answered = [bool(a) for p in passages(root, sources=(UNANSWERABLE,)) for _, a in p.questions]
    assert answered.count(False) * 3 == len(answered)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(4, 24), st.integers(1, 5))
def test_packing_loses_no_example_and_never_splits_one(sizes, length, open_windows):
    examples = [([number + 1] * size, [1.0] * size) for number, size in enumerate(sizes)]
    packed = list(pack(examples, length, pad=0, open_windows=open_windows))
    for ids, weights in packed:
        assert len(ids) == length + 1 and len(weights) == length
        assert np.array_equal(weights > 0, ids[1:] > 0)
    for number, size in enumerate(sizes):
        counts = [int((ids == number + 1).sum()) for ids, _ in packed]
        assert sorted(counts)[-1:] == [min(size, length + 1)] and sum(counts) == max(counts)


def test_what_is_held_out_is_decided_by_name():
    names = [f"article {number}" for number in range(3000)]
    held = [name for name in names if is_held_out(name, 6)]
    assert held == [name for name in names if is_held_out(name, 6)]
    assert 400 < len(held) < 600
