// The dialogue of "otic teach": what was said, the latest example, and the answers that there are.

import { byId, element } from "./dom.js";

const TURN_MILLISECONDS = 200;
const TABLE_STYLES = new Set(["heading", "warning", "dim", "table", "key"]);

let seen = 0; // lines that are on the page
let shown = 0; // number of the example that is on the page
let answers = "";

function connection(state, text) {
  byId("connection").dataset.state = state;
  byId("connection").textContent = text;
}

async function answer(key) {
  await fetch("key", { method: "POST", body: JSON.stringify({ key }) });
}

function draw(state) {
  for (const [style, text] of state.lines) {
    const name = TABLE_STYLES.has(style) ? style : "";
    byId("lines").append(element("p", { className: name, textContent: text }));
  }
  seen = state.seen;
  if (state.example !== shown) {
    shown = state.example;
    byId("picture").src = `example.png?${shown}`;
    byId("sound").src = `example.wav?${shown}`;
    byId("example").hidden = false;
  }
  byId("status").textContent = state.status;
  const offered = JSON.stringify(state.answers);
  if (offered !== answers) {
    answers = offered;
    const buttons = state.answers.map(([key, text]) =>
      element("button", { textContent: text, onclick: () => answer(key), data: { key } }),
    );
    byId("answers").replaceChildren(...buttons);
    byId("answers").scrollIntoView({ block: "end" });
  }
}

async function turn() {
  try {
    const got = await fetch(`state?seen=${seen}`);
    if (got.status === 404) return location.reload(); // it listens now: that is another page
    draw(await got.json());
    connection("live", "connected");
  } catch {
    connection("lost", "otic does not answer");
  }
  setTimeout(turn, TURN_MILLISECONDS);
}

turn();
