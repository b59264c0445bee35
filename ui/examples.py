"""Examples for the tabs, written for this page and sized for a small model."""

PROMPTS = {
    "A town on a river": ("The town lies on the left bank of the river, about twelve miles north of",),
    "A letter": ("My dear brother, since I wrote to you last a great deal has happened. First of all,",),
    "A scientist": ("She was a British chemist, best known for her work on",),
    "A storm at sea": ("The wind had been rising since noon, and by evening the captain",),
    "A football club": ("The club was founded in 1898 and played its first match against",),
}

# for models that chat
MESSAGES = {
    "A capital": ("What is the capital of France?",),
    "A haiku": ("Write a haiku about the sea.",),
    "Three fruits": ("Name three fruits that are red.",),
    "A reason": ("Why is the sky blue? Answer in two sentences.",),
    "A letter": ("Write a short letter that thanks a friend for a gift.",),
}

# text, labels
CHAT_REVIEWS = {
    "A warm film": ("A warm, funny and beautifully acted film that stays with you.", "negative, positive"),
}
REVIEWS = {
    "A warm film": ("A warm, funny and beautifully acted film that stays with you.", "negative, positive"),
    "A dull film": ("Two hours of tired jokes and a plot that goes nowhere.", "negative, positive"),
    "A good kettle": ("The kettle boils fast and looks great, and I use it every day.", "negative, positive"),
    "A broken cable": ("The cable stopped working after one week and nobody answered my mail.", "negative, positive"),
    "Hard to say": ("The story is thin, but the two leads make it a pleasure to watch.", "negative, positive"),
    "Other labels": ("The striker scored twice in the last ten minutes of the match.", "sport, politics, science"),
}

# context, question
CHAT_QUESTIONS = {
    "The lighthouse": (
        "The lighthouse on Harrow Point was built in 1862 by the engineer Thomas Reed. It stands forty metres above "
        "the sea and was lit with oil lamps until 1924, when electric light was installed.",
        "When was the lighthouse built?",
    ),
}
QUESTIONS = {
    "The lighthouse": (
        "The lighthouse on Harrow Point was built in 1862 by the engineer Thomas Reed. It stands forty metres above "
        "the sea and was lit with oil lamps until 1924, when electric light was installed.",
        "When was the lighthouse built?",
    ),
    "The engineer": (
        "The lighthouse on Harrow Point was built in 1862 by the engineer Thomas Reed. It stands forty metres above "
        "the sea and was lit with oil lamps until 1924, when electric light was installed.",
        "Who built the lighthouse?",
    ),
    "The river": (
        "The Alder rises in the northern hills and flows south for 310 kilometres. It passes through the city of "
        "Marden before it reaches the sea near the village of Collby.",
        "Which city does the Alder pass through?",
    ),
    "The museum": (
        "The museum opened in 1931 with a gift of two hundred paintings from Clara Whitfield. Today it holds more "
        "than nine thousand works and is visited by half a million people each year.",
        "How many paintings did Clara Whitfield give?",
    ),
    "The battle": (
        "The battle lasted three days. On the morning of the fourth the army of General Kessler withdrew across the "
        "bridge, and the town surrendered to the northern forces.",
        "Who withdrew across the bridge?",
    ),
}
