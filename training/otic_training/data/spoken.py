"""Speech made here: text that means nothing, in many languages, through free synthesisers.

Voices are those whose makers allow any use of what they say. The licences are in
docs/training.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from otic_training.data.making import Take, render_with

Rng = np.random.Generator

WORDS = {
    "en-us": "time people water house year good small under because tomorrow street what where",
    "en-gb": "morning kitchen perhaps bread rather lovely bus letter weather twelve garden why",
    "de": "heute Wasser Haus vielleicht gehen Straße schön und nicht morgen Brot warum über zwei",
    "fr-fr": "maison aujourd'hui pain rue peut-être demain je nous avec pourquoi beau petite eau",
    "es": "casa agua hoy mañana calle porque nosotros pequeño bueno donde hermano ciudad pan",
    "it": "casa oggi domani strada perché acqua bello piccolo noi dove città pane fratello",
    "pt-br": "casa água hoje amanhã rua porque pequeno bom onde irmão cidade pão nós não",
    "nl": "huis water vandaag morgen straat omdat klein goed waar broer stad brood misschien",
    "sv": "hus vatten idag imorgon gata därför liten bra var bror stad bröd kanske och inte",
    "pl": "dom woda dzisiaj jutro ulica ponieważ mały dobry gdzie brat miasto chleb może",
    "cs": "dům voda dnes zítra ulice protože malý dobrý kde bratr město chléb možná řeka",
    "hu": "ház víz ma holnap utca mert kicsi jó hol testvér város kenyér talán és nem",
    "fi": "talo vesi tänään huomenna katu koska pieni hyvä missä veli kaupunki leipä ehkä",
    "tr": "ev su bugün yarın sokak çünkü küçük iyi nerede kardeş şehir ekmek belki ve",
    "ro": "casă apă astăzi mâine stradă pentru mic bun unde frate oraș pâine poate și",
    "id": "rumah air hari ini besok jalan karena kecil baik mana saudara kota roti mungkin",
    "sw": "nyumba maji leo kesho barabara kwa sababu ndogo nzuri wapi ndugu mji mkate labda",
    "vi": "nhà nước hôm nay ngày mai đường vì nhỏ tốt đâu anh thành phố bánh có thể",
    "ru": "дом вода сегодня завтра улица потому маленький хорошо где брат город хлеб может",
    "uk": "дім вода сьогодні завтра вулиця тому малий добре де брат місто хліб може",
    "el": "σπίτι νερό σήμερα αύριο δρόμος γιατί μικρό καλό πού αδελφός πόλη ψωμί ίσως",
    "ar": "بيت ماء اليوم غدا شارع لأن صغير جيد أين أخ مدينة خبز ربما",
    "hi": "घर पानी आज कल सड़क क्योंकि छोटा अच्छा कहाँ भाई शहर रोटी शायद",
    "ja": "いえ みず きょう あした みち だから ちいさい いい どこ あに まち パン たぶん",
    "ko": "집 물 오늘 내일 거리 왜냐하면 작은 좋은 어디 형제 도시 빵 아마",
    "cmn": "房子 水 今天 明天 街道 因为 小 好 哪里 哥哥 城市 面包 也许",
}
"""Everyday words, by espeak-ng's name of the language."""

VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 whisper whisperf croak klatt klatt2 klatt3 klatt4 "
    "Andy Annie Denis Gene Lee Mario Michael Storm Tweaky UniRobot grandma grandpa belinda aunty"
)
"""Voices of espeak-ng: each speaks all of its languages."""

FLITE = ("kal", "kal16", "awb", "rms", "slt")

AUTHORS = {"espeak-ng": "espeak-ng's authors", "flite": "Carnegie Mellon University"}
LICENCES = {
    "espeak-ng": "any use (output of a GPL-3.0-or-later program)",
    "flite": "any use (CMU Flite: BSD-like)",
}
_LONGEST = 20.0


def spoken(found: Mapping[str, str], number: int, rng: Rng) -> Take:
    """Plan a clip of speech, by one of the synthesisers that are installed."""
    voices = [("espeak-ng", each) for each in VARIANTS.split() if "espeak-ng" in found]
    voices += [("flite", each) for each in FLITE if "flite" in found]
    program, voice = voices[(number * 7) % len(voices)]  # neighbours differ
    language = str(rng.choice(list(WORDS))) if program == "espeak-ng" else "en-us"
    per_minute = rng.uniform(110, 250)
    shout = rng.random() < 0.1
    said = text(language, int(rng.uniform(6.0, 14.0) * per_minute / 60.0), shout, rng)
    high = rng.uniform(60, 99) if shout else rng.uniform(5, 90)
    hz = rng.uniform(80, 240) * (1.4 if shout else 1.0)

    def command(folder: Path) -> list[str]:
        out = str(folder / "out.wav")
        if program == "flite":
            stretch = f"duration_stretch={170 / per_minute:.2f}"
            tone = f"int_f0_target_mean={hz:.0f}"
            return ["flite", "-voice", voice, "--setf", stretch, "--setf", tone, "-t", said,
                    "-o", out]  # fmt: skip
        return ["espeak-ng", "-v", f"{language}+{voice}", "-p", f"{high:.0f}", "-s",
                f"{per_minute:.0f}", "-a", "200" if shout else "100", "-w", out, said]  # fmt: skip

    return Take(
        f"{number:05d}-{program}-{language}-{voice}",
        "speech",
        f"{program}-{voice}",
        found[program],
        AUTHORS[program],
        LICENCES[program],
        "",
        (_LONGEST,),
        lambda folder: render_with(command(folder), folder / "out.wav"),
    )


def text(language: str, words: int, shout: bool, rng: Rng) -> str:
    """Make up about so many words: sentences, numbers, names, babble or laughter."""
    lexicon = WORDS[language].split()
    latin = all(ord(letter) < 0x250 for letter in lexicon[0])
    style = rng.choice(("sentences", "counting", "numbers", "babble", "laughter"),
                       p=(0.6, 0.12, 0.1, 0.1, 0.08))  # fmt: skip
    parts = list[str]()
    if style == "counting":
        first = int(rng.integers(1, 90))
        return ", ".join(str(first + i) for i in range(words))
    while sum(len(part.split()) for part in parts) < words:
        n = int(rng.integers(1, 4) if shout else rng.integers(4, 12))
        if style == "numbers":
            some = [str(rng.integers(10 ** int(rng.integers(1, 4)))) for _ in range(n)]
        elif style == "babble":
            some = [_name(rng) for _ in range(n)]
        elif style == "laughter":
            some = [str(rng.choice(("ha", "he", "hi", "ho", "haha", "hehe")))] * (n + 2)
        else:
            some = [_name(rng).title() if latin and rng.random() < 0.15 else str(word)
                    for word in rng.choice(lexicon, n)]  # fmt: skip
        parts.append(" ".join(some) + ("!" if shout else str(rng.choice((".", "?", "!", ",")))))
    return " ".join(parts)


def _name(rng: Rng) -> str:
    """One to four syllables."""
    syllables = (rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou"))
                 for _ in range(int(rng.integers(1, 5))))  # fmt: skip
    return "".join(syllables) + str(rng.choice(("", "", "n", "l", "r", "s")))
