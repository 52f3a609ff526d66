// Puts the parts that the server has made anew into the page; without it the page is as it was when it was loaded.
"use strict";

const lamp = document.getElementById("live");

function replace(id, html) {
  const part = document.getElementById(id);
  if (!part) return;
  const before = {};
  for (const card of part.querySelectorAll("[data-state]")) before[card.dataset.state] = card.textContent;
  const opened = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  const place = held && [...part.querySelectorAll("a, summary, [tabindex]")].indexOf(held);
  part.innerHTML = html;
  for (const each of opened) part.querySelector("#" + CSS.escape(each))?.setAttribute("open", "");
  for (const card of part.querySelectorAll("[data-state]")) {
    if (before[card.dataset.state] !== card.textContent) card.classList.add("changed");
  }
  if (held) {
    const same = held.getAttribute("href");
    const links = [...part.querySelectorAll("a, summary, [tabindex]")];
    (links.find((each) => same && each.getAttribute("href") === same) ?? links[place])?.focus({ preventScroll: true });
  }
}

function watch() {
  const source = new EventSource("/room/stream");
  source.addEventListener("open", () => { lamp.textContent = "live"; lamp.className = "on"; });
  source.addEventListener("parts", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) replace(id, html);
  });
  source.addEventListener("error", () => {
    lamp.textContent = "not live";
    lamp.className = "off";
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, 10000);
  });
}

if (lamp && document.getElementById("pipeline")) watch();
