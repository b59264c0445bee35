"""Examples for the tabs, written for this page: for models that chat, which the SmolLM2 of 135M answers sensibly and a
heavily pruned copy of it does not, and for those that continue a text, sized for the embedded one."""

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
    "Three fruits": ("Name three fruits.",),
    "The sky": ("Why is the sky blue? Answer in two sentences.",),
    "A poem": ("Write a two-line poem about the moon.",),
    "A plant": ("What is photosynthesis? Answer in one sentence.",),
}

# text, labels
CHAT_REVIEWS = {
    "A cold dinner": ("The food was cold, the waiter was rude and we left hungry.", "negative, positive"),
    "A warm film": ("A warm, funny and beautifully acted film that stays with you.", "negative, positive"),
    "A bank": ("Shares of the bank fell after it reported a loss for the third quarter.", "sports, business, science"),
    "A planet": ("Astronomers have found a planet with clouds around a distant star.", "sports, business, science"),
    "A match": ("The striker scored twice in the last ten minutes of the match.", "sports, business, science"),
    "A kitchen": ("Add two eggs and a cup of flour, then bake for half an hour.", "a recipe, a poem, a letter"),
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
    "The bakery": (
        "The bakery on Mill Street opens at six in the morning and closes at two in the afternoon. It is closed on "
        "Mondays.",
        "On which day is the bakery closed?",
    ),
    "The apples": (
        "Marta planted three apple trees behind the house in spring. In autumn she sold the first apples at the market "
        "in Lund.",
        "Where did Marta sell the apples?",
    ),
    "The train": (
        "The train from Halden to Ostby takes four hours. It leaves at nine and stops only in Verne, where passengers "
        "can buy coffee.",
        "How long does the train take?",
    ),
    "The paintings": (
        "The museum opened in 1931 with a gift of two hundred paintings from Clara Whitfield. Today it holds more than "
        "nine thousand works.",
        "When did the museum open?",
    ),
    "The stream": (
        "The Alder rises in the northern hills and flows south for 310 kilometres. It reaches the sea near the village "
        "of Collby.",
        "How long is the Alder?",
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
