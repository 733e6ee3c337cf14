// Which page this is, and the line to the server: it comes back by itself, and what it then hears is whole.

import { RunList } from "./runlist.js";
import { RunPage } from "./runpage.js";

const BEAT_MS = 15_000;
const SOON_MS = 1_000, LATE_MS = 5_000;
const status = document.getElementById("status");
const main = document.getElementById("main");

function tell(state, text) {
  if (status.dataset.state !== state) status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

// An EventSource gives up for good on an answer that is no stream, and waits for ever on a line that has gone dead: both are begun anew here.
function follow(url, hear) {
  let source = null, timer = 0, tries = 0;

  const again = (why) => {
    clearTimeout(timer);
    source?.close();
    tell("lost", why);
    timer = setTimeout(open, Math.min(LATE_MS, SOON_MS * (1 + tries)));
    tries += 1;
  };
  const alive = () => {
    tries = 0;
    clearTimeout(timer);
    timer = setTimeout(() => again("no word from the server: trying again"), BEAT_MS);
  };
  function open() {
    clearTimeout(timer);
    timer = setTimeout(() => again("the server does not answer: trying again"), BEAT_MS);
    source = new EventSource(url);
    source.addEventListener("beat", alive);
    for (const kind of ["about", "now"]) {
      source.addEventListener(kind, (event) => {
        alive();
        tell("live", "live");
        hear(kind, JSON.parse(event.data));
      });
    }
    source.onerror = async () => {
      again("no connection: trying again");
      const why = await reason(url);
      if (why) tell("lost", why);
    };
  }
  open();
}

// Why a stream was refused, in the server's words; "" where the server is not there at all.
async function reason(url) {
  try {
    const answer = await fetch(url.replace(/\/stream$/, ""), { cache: "no-store" });
    return answer.ok ? "" : (await answer.text()).slice(0, 300).trim();
  } catch {
    return "";
  }
}

// The list is small and changes seldom: it is asked for every few seconds.
async function ask(url, hear) {
  for (let tries = 0; ; ) {
    try {
      const answer = await fetch(url, { cache: "no-store" });
      if (answer.ok) {
        hear(await answer.json());
        tell("live", "live");
        tries = 0;
      } else {
        tell("lost", (await answer.text()).slice(0, 300).trim());
        tries += 1;
      }
    } catch {
      tell("lost", "no connection: trying again");
      tries += 1;
    }
    await new Promise((done) => setTimeout(done, tries ? Math.min(LATE_MS, SOON_MS * tries) : 3_000));
  }
}

const run = /^\/run\/([^/]+)$/.exec(location.pathname);
if (run) {
  const api = `/api/runs/${run[1]}`;
  const page = new RunPage(main, run[1], api);
  follow(`${api}/stream`, (kind, value) => page.hear(kind, value));
} else {
  const list = new RunList(main);
  ask("/api/runs", (runs) => list.show(runs));
}
