"""Makes the docs' pictures: `make pictures`, or `make pictures ARGS="report.png agent.png"` for some of them.

Reports and films are those of the runs in MADE, which take minutes each and lie in runs/pictures afterwards; a second
call takes them from there. Last of all come screens: each sort of page, whole, at three widths, light and dark, in
runs/pictures/screens, to be looked at; `make pictures ARGS=screens` makes them alone. Pages need a Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "tests"))
from browser import Browser, browser, find  # noqa: E402 - it lies with the tests

from envgen_exp.families import make_family, make_playable  # noqa: E402
from envgen_exp.families.design import Design  # noqa: E402
from envgen_exp.families.driving.config import DrivingConfig  # noqa: E402
from envgen_exp.families.driving.design import EVENTS, KEPT_PAIRS, events_of  # noqa: E402
from envgen_exp.families.family import FrameBuffers, Labelled, Playable  # noqa: E402
from envgen_exp.families.heist.config import HeistConfig, HeistMode  # noqa: E402
from envgen_exp.families.typed import parse_design  # noqa: E402
from envgen_exp.families.vector import zero_observation  # noqa: E402
from envgen_exp.seeding import WorldSet, world_seed  # noqa: E402

RUNS = ROOT / "runs" / "pictures"
SYMBOLIC = ("experiment=demo", "ppo=symbolic")
MADE = {
    "demo": ("experiment=demo",),
    "adaptive": SYMBOLIC,
    "plain": (*SYMBOLIC, "designer=original"),
    "heist": ("experiment=heist_demo",),
    "driving": ("experiment=driving", "llm=offline", "arm=adaptive", "evaluation.report_episodes=3_250"),
}
"""The runs, by their folder's name, and what each is."""
SWEEPS = {"iron-pickaxe.png": "learning-symbolic", "driving-study.jpg": "driving"}
"""Pictures of a run of a sweep, which takes too long to be made here: its folder in multirun/."""
WIDTHS = (420, 900, 1600)
TALLEST = 15_000
"""Pixels of the window for a screen: with a higher one a browser draws too little."""
MOUNTAIN = "target_biome: mountain, iron_rarity: very common"
DESIGNS = (
    "maze_size: 5x5, locks: none",
    "maze_size: 5x5, world_size: 15, locks: one",
    "maze_size: 9x9, locks: three",
    "maze_size: 9x9, locks: two, locks_open: 1",
    "maze_size: 9x9, locks: two, keys_held: 2",
    "maze_size: 9x9, locks: two, walls_removed: 50",
    "maze_size: 15x15, locks: three",
    "maze_size: 9x9, locks: two, view: partial",
)
DAY = "time_of_day: day, weather: clear, markings: dashed"
EVENT_SCENES = {event: f"event: {event}, event_share: 100, lanes: three, {DAY}" for event in EVENTS} | {
    f"{event}, not by day": f"event: {event}, event_share: 100, {other}"
    for event, other in {
        "pedestrian": "time_of_day: night, weather: clear",
        "crossing_trailer": "time_of_day: low_sun, sun_direction: ahead, weather: clear",
        "stalled_car": "weather: rain, time_of_day: dusk",
        "wrong_way_car": "time_of_day: night, weather: clear",
        "debris": "weather: overcast, time_of_day: dusk",
        "shifted_lanes": "time_of_day: night, weather: clear",
    }.items()
}
"""Under each picture of docs/pictures/driving-events.jpg, and the design that it is of."""
LIGHT = (
    "time_of_day: day, weather: clear",
    "time_of_day: low_sun, sun_direction: ahead, weather: clear",
    "time_of_day: low_sun, sun_direction: side, weather: clear",
    "time_of_day: dusk, weather: clear",
    "time_of_day: night, weather: clear",
    "weather: overcast, time_of_day: day",
    "weather: rain, time_of_day: day",
    "weather: rain, time_of_day: night",
    "weather: fog, fog_visibility: 60, time_of_day: day",
    "weather: fog, fog_visibility: 200, time_of_day: dusk",
)
ROAD = (
    "markings: solid",
    "markings: faded",
    "markings: missing",
    "curve: sharp",
    "slope: uphill",
    "slope: downhill",
    "lane_width: narrow, shoulder: none",
    "lane_width: wide, shoulder: wide",
    "roadside: open",
    "roadside: trees",
    "roadside: buildings",
    "roadside: barriers",
)
TRAFFIC = (
    "traffic: dense, vehicles: cars",
    "traffic: dense, vehicles: trucks",
    "traffic: dense, vehicles: trailers",
    "colours: bright, traffic: dense",
    "colours: dark, traffic: dense",
    "colours: white, traffic: dense",
    "car_ahead: near",
    "car_ahead: far",
    "largest_heading: 30",
    "largest_offset: 150",
)
REPORT_SCENES = {f"the report's original|{number}": "" for number in range(1, 8)} | {
    f"{a}, {b}": f"event: {a}, second_event: {b}, event_share: 100, time_of_day: day" for a, b in KEPT_PAIRS
}
FONT = ImageFont.load_default(15)


def finished(name: str) -> Path:
    """A run's folder; the run is made or finished first where need be."""
    folder = RUNS / name
    if not (folder / "summary.json").exists():
        words = [f"resume={folder}"] if folder.exists() else [*MADE[name], f"folder={folder.relative_to(ROOT)}"]
        subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=True)
    return folder


def run(name: str = "demo") -> Path:
    """A run's page, made anew; it is filmed where it has no film."""
    folder = finished(name)
    if not films(folder):
        command(["play", "--episodes", "2", folder])
    return command(["report", folder], folder / "report.html")


def films(folder: Path) -> list[Path]:
    """Those of the report evaluation, else what there is."""
    return sorted(folder.glob("videos/report-*.mp4")) or sorted(folder.glob("videos/*.mp4"))


def two() -> Path:
    """The page of the two runs that differ in their designer."""
    run("adaptive"), run("plain")
    page = RUNS / "adaptive" / "beside-plain.html"
    return command(["report", RUNS / "adaptive", RUNS / "plain"], page)


def sweep() -> Path:
    """The page of a small sweep."""
    folder = RUNS / "sweep"
    if not folder.exists():
        words = ["-m", "experiment=sweep_smoke", "tracker=none", f"hydra.sweep.dir={folder.relative_to(ROOT)}"]
        subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=True)
    return command(["report", folder], folder / "report.html")


def command(words: list[str | Path], made: Path | None = None) -> Path:
    """`python -m envgen_exp` with these words, and the page that it makes."""
    subprocess.run([sys.executable, "-m", "envgen_exp", *words], cwd=ROOT, check=True)
    return made or Path()


def screens() -> None:
    """Each sort of page, whole, at each width, light and dark."""
    folder = RUNS / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"crafter": run("adaptive"), "heist": run("heist"), "two": two(), "sweep": sweep()}
    with window() as made:
        for name, page in pages.items():
            for width in WIDTHS:
                for dark in (False, True):
                    made.open(page.as_uri(), width, dark=dark)
                    height = made.evaluate("document.documentElement.scrollHeight")
                    made.open(page.as_uri(), width, dark=dark, height=min(height, TALLEST))
                    made.screenshot(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png", whole=True)
    print(f"{folder.relative_to(ROOT)}: look at them")


@contextlib.contextmanager
def window() -> Iterator[Browser]:
    """A browser."""
    name = find()
    if name is None:
        sys.exit("no browser on this machine: install chromium")
    with tempfile.TemporaryDirectory() as profile, browser(name, Path(profile)) as made:
        yield made


def shot(page: Path, picture: Path, selector: str = "body", *, height: int, width: int = 1280) -> None:
    """A picture of a page from this element on."""
    with window() as made:
        made.open(page.as_uri(), width, height=height)
        made.evaluate(f"document.querySelector('{selector}').scrollIntoView()")
        made.evaluate(f"window.scrollBy(0, {'0' if selector == 'body' else '-90'})")  # the page's menu stays on top
        made.screenshot(picture)
    save(Image.open(picture), picture)


def preview(picture: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "preview.html"
        shot(command(["preview", MOUNTAIN, "--out", page], page), picture, height=800)


def agent(picture: Path) -> None:
    """Four frames of the first film, evenly apart."""
    run()
    with av.open(str(films(RUNS / "demo")[0])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    chosen = [frames[round(place * (len(frames) - 1))] for place in (0.1, 0.35, 0.6, 0.85)]
    save(Image.fromarray(np.concatenate(chosen, axis=1)), picture)


def swept(picture: Path, words: str) -> Path:
    """The run that was typed with these words, of the sweep of which this picture is."""
    configs = (ROOT / "multirun" / SWEEPS[picture.name]).glob("*/config.yaml")
    return next(config.parent for config in configs if words in config.read_text())


def iron(picture: Path) -> None:
    """Four moments of an episode with an iron pickaxe."""
    folder = swept(picture, "seed=112 ")
    command(["play", folder, "--skill", "make_iron_pickaxe"])
    film = folder / "videos" / "play-original-make_iron_pickaxe-1.mp4"
    steps = json.loads(film.with_suffix(".json").read_text())["unlocked"]
    with av.open(str(film)) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    skills = ("make_stone_pickaxe", "collect_iron", "place_furnace", "make_iron_pickaxe")
    save(Image.fromarray(np.concatenate([frames[step] for step in sorted(steps[s] for s in skills)], axis=1)), picture)


def drive(folder: Path, *words: str) -> list[Image.Image]:
    """Two moments of each of the first two events that a run's network meets as it drives."""
    film = folder / "drives" / "raised-s0.mp4"
    if not film.exists():
        command(["drive", folder, *words])
    met = json.loads(film.with_suffix(".json").read_text())["film"]["unlocked"].values()
    with av.open(str(film)) as opened:
        frames = [frame.to_image() for frame in opened.decode(video=0)]
    return [frames[step + later] for step in sorted(met)[:2] for later in (62, 92)]


def drives(picture: Path) -> None:
    """The same of a run without designs, and below it of one with a model's."""
    chosen = [swept(picture, f"arm={arm} seed=300") for arm in ("original", "adaptive")]
    save(grid([frame for run in chosen for frame in drive(run)], 4), picture)


def heist_original(picture: Path) -> None:
    """Two levels of each of stock's modes."""
    panels = []
    for mode in HeistMode:
        family = make_playable(HeistConfig(mode=mode))
        panels += [panel(family, None, episode, f"original, {mode.name} mode") for episode in (1, 3)]
    save(grid(panels, 2), picture)


def heist_designs(picture: Path) -> None:
    """A level of each of several designs."""
    family = make_playable(HeistConfig(pool_size=4))
    save(grid([panel(family, parse_design(text, family), 1, text) for text in DESIGNS], 2), picture)


def driving(kinds: Mapping[str, str], columns: int, worlds: WorldSet, picture: Path) -> None:
    """A frame of each of several designs, by the words under it and after a bar the number of its world."""
    family = make_family(DrivingConfig())
    assert isinstance(family, Labelled)
    panels = []
    for title, text in kinds.items():
        design = parse_design(text, family) if text else None
        shown = Image.new("RGB", (284, 236), "white")
        number = int(title.partition("|")[2] or 0) or telling_world(family, design, worlds, len(panels) + 1)
        shown.paste(Image.fromarray(family.picture(design, world_seed(0, number, worlds), unit=8)), (2, 0))
        ImageDraw.Draw(shown).text((4, 214), title.partition("|")[0], fill="black", font=FONT)
        panels.append(shown)
    save(grid(panels, columns), picture)


def by_day(texts: tuple[str, ...]) -> dict[str, str]:
    return {text: f"{text}, time_of_day: day, weather: clear" for text in texts}


def telling_world(family: Labelled, design: Design | None, worlds: WorldSet, first: int) -> int:
    """The first world, from the `first`, in which a design's events are seen and what is ahead is near."""
    if design is None or not (events := events_of(design)):
        return first
    numbers = range(first, first + 200)
    out = FrameBuffers(
        np.zeros((200, *family.frame_spec.shape), np.uint8),
        np.zeros((200, len(family.labels)), np.float32),
        np.zeros((200, len(family.strata)), np.bool_),
    )
    family.frames([design] * 200, [world_seed(0, number, worlds) for number in numbers], worlds, out)
    own = [label.name for label in family.labels].index("ahead_own")
    near = out.labels[:, own] < (60 if {"car_behind_crest"} & set(events) else 26)
    seen = out.strata[:, [family.strata.index(event) for event in events]].all(1)
    return numbers[int(np.argmax(near & seen))]


def panel(family: Playable, design: Design | None, episode: int, title: str) -> Image.Image:
    """A level, and beside it the agent's first frame there."""
    seed = world_seed(0, episode, WorldSet.VALIDATION)
    level = Image.fromarray(family.picture(design, seed, unit=20)).resize((240, 240))
    env = family.vector([design], [0], WorldSet.VALIDATION)
    obs = zero_observation(env.observation_spec, 1)
    for _ in range(episode):
        env.reset(obs)
    env.close()
    made = Image.new("RGB", (460, 275), "white")
    ImageDraw.Draw(made).text((2, 6), title, fill="black", font=FONT)
    made.paste(level, (0, 30))
    made.paste(Image.fromarray(obs["pixels"][0]).resize((192, 192), Image.Resampling.NEAREST), (250, 30))
    return made


def grid(panels: list[Image.Image], columns: int) -> Image.Image:
    width, height = panels[0].size
    made = Image.new("RGB", (width * columns, height * -(-len(panels) // columns)), "white")
    for index, one in enumerate(panels):
        made.paste(one, (index % columns * width, index // columns * height))
    return made


def save(picture: Image.Image, path: Path) -> None:
    """As few bytes as 256 colours take; or as a photograph, where there are more."""
    if path.suffix == ".jpg":
        picture.save(path, quality=85, optimize=True)
    else:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


PICTURES: dict[str, Callable[[Path], None]] = {
    "report.png": lambda path: shot(run(), path, height=760),
    "report-skills.png": lambda path: shot(run(), path, "#skills", height=900),
    "report-curves.png": lambda path: shot(run(), path, "#curves", height=700),
    "report-lineage.png": lambda path: shot(run(), path, "#cycle-2", height=1000),
    "agent.png": agent,
    "iron-pickaxe.png": iron,
    "preview.png": preview,
    "two-runs.png": lambda path: shot(two(), path, height=1000),
    "heist-locks.png": lambda path: shot(run("heist"), path, "#grades", height=760),
    "heist-report.png": lambda path: shot(run("heist"), path, "#cycle-2", height=1000),
    "heist-original.png": heist_original,
    "heist-designs.png": heist_designs,
    "driving-events.jpg": lambda path: driving(EVENT_SCENES, 4, WorldSet.VALIDATION, path),
    "driving-light.jpg": lambda path: driving(
        {text: f"{text}, car_ahead: middle" for text in LIGHT}, 4, WorldSet.VALIDATION, path
    ),
    "driving-road.jpg": lambda path: driving(by_day(ROAD), 4, WorldSet.VALIDATION, path),
    "driving-traffic.jpg": lambda path: driving(by_day(TRAFFIC), 4, WorldSet.VALIDATION, path),
    "driving-drive.jpg": lambda path: save(grid(drive(finished("driving"), "km=2"), 2), path),
    "driving-study.jpg": drives,
    "driving-report.jpg": lambda path: driving(REPORT_SCENES, 4, WorldSet.REPORT, path),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pictures", nargs="*", metavar="PICTURE", help=f"all, or some of {', '.join((*PICTURES, 'screens'))}"
    )
    names = parser.parse_args().pictures or [*PICTURES, "screens"]
    if unknown := set(names) - {*PICTURES, "screens"}:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join((*PICTURES, 'screens'))}")
    for name in names:
        if name == "screens":
            screens()
        elif name in SWEEPS and not (ROOT / "multirun" / SWEEPS[name]).exists():
            print(f"{name}: left as it is; it wants the sweep in multirun/{SWEEPS[name]} (docs/results.md)")
        else:
            PICTURES[name](DOCS / "pictures" / name)


if __name__ == "__main__":
    main()
