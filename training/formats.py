"""The fixed prompt formats: what the embedded model was fine-tuned on, and what the page and the tasks ask.

Every completion begins with a space (so that it is its own token after the prompt's last colon) and ends with
a newline, which is where an answer stops.
"""

STOP = "\n"
SENTIMENT_LABELS = ("negative", "positive")
UNANSWERABLE = "unanswerable"  # the answer to a question that the context does not answer


def classification_prompt(text: str, subject: str = "Review", question: str = "Sentiment") -> str:
    """The prompt whose continuation is a label word, e.g. ` positive`."""
    return f"{subject}: {one_line(text)}\n{question}:"


def question_prompt(context: str, question: str) -> str:
    """The prompt whose continuation is an answer found in the context."""
    return f"Context: {one_line(context)}\nQuestion: {one_line(question)}\nAnswer:"


def headline_prompt(text: str) -> str:
    """The prompt whose continuation is the name of the article or the section that the text opens."""
    return f"Text: {one_line(text)}\nHeadline:"


def completion(answer: str) -> str:
    """A label or an answer as it follows its prompt."""
    return f" {one_line(answer)}"


def one_line(text: str) -> str:
    """The text with all runs of white space, line ends too, made one space: a newline would end the field."""
    return " ".join(text.split())
