"""Makes the picture of docs/how-to/look-into-results.md: ``python -m tests.evals.make_pictures``. It takes Chromium."""

from __future__ import annotations

import random
import tempfile
from base64 import b64decode
from pathlib import Path

from tests.evals.browser import chromium
from tests.evals.test_page import record, stored

from doteval.cli import main
from doteval.evals import ModelUsage, Record

PICTURE = Path(__file__).parents[2] / "docs" / "how-to" / "look-rows.png"
COUNTRIES = ("France", "Japan", "Peru", "Kenya", "Norway", "Canada", "Egypt", "Chile", "India", "Ghana", "Spain")


def row(number: int, model: str, skill: float) -> Record:
    country, level = COUNTRIES[number % len(COUNTRIES)], number % 3 + 1
    size = random.randrange(40, 90)
    usage = (ModelUsage(model, "model", 1, 0, 0, size, size // 3, 0, 0, 0),)
    return record(
        number,
        inputs={"question": f"What is the capital of {country}?", "level": level},
        prompt=[{"role": "user", "content": f"In one sentence: what is the capital of {country}?"}],
        output=f"The capital of {country} is well known, and it is the city that is asked for.",
        scores={"right": random.random() < skill - level / 12, "clear": round(random.betavariate(9 * skill, 3), 2)},
        seconds=random.lognormvariate(-0.5, 0.4),
        usage_by_model=usage,
        input_tokens=size,
        output_tokens=size // 3,
    )  # fmt: skip


def make() -> None:
    random.seed(5)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for model, skill in (("small", 0.8), ("large", 0.95)):
            rows = [row(number, model, skill) for number in range(600)]
            stored(directory / "results.db", {f"eval_capitals[{model}]": rows}, "capitals", model)
        page = directory / "page.html"
        assert main(["report", "capitals", "--store", str(directory / "results.db"), "-o", str(page)]) == 0
        with chromium(directory) as browser:
            browser.open(f"{page.as_uri()}#tab=rows&beside=2&score=clear&group=level&row=k2", width=1280, height=760)
            browser.until("document.querySelectorAll('#detail article').length === 2")
            PICTURE.write_bytes(b64decode(browser.call("Page.captureScreenshot", format="png")["data"]))


if __name__ == "__main__":
    make()
