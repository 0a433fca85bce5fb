"use strict";
// The page is whole without this: it shows its controls only where it runs.
for (const control of document.querySelectorAll("[data-control]")) {
  control.hidden = false;
  const section = control.closest("section");
  if (control.dataset.control === "order") {
    const items = [...section.querySelectorAll("[data-change]")];
    const change = item => Number(item.dataset.change);
    control.querySelector("select").addEventListener("change", event => {
      const wanted = event.target.value === "change" ? [...items].sort((a, b) => change(b) - change(a)) : items;
      for (const parent of new Set(items.map(item => item.parentNode)))
        parent.prepend(...wanted.filter(item => item.parentNode === parent));
    });
  } else {
    const films = [...section.querySelectorAll("video")];
    const [loop, speed] = control.querySelectorAll("button");
    const speeds = [1, 2, 4, 8, 0.5];
    let at = 0;
    loop.addEventListener("click", () => {
      for (const film of films) film.loop = !film.loop;
      loop.setAttribute("aria-pressed", films[0].loop);
    });
    speed.addEventListener("click", () => {
      at = (at + 1) % speeds.length;
      for (const film of films) film.playbackRate = film.defaultPlaybackRate = speeds[at];
      speed.textContent = `Speed ${speeds[at]}×`;
    });
  }
}
